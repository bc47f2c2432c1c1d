"""Idempotency keys: the first answer to an upload, kept in the post's own transaction, for 24 hours."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.errors import Conflict, Invalid
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import IdempotencyKey

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores

# How long a repeated upload gets the first answer again.
KEPT_FOR = dt.timedelta(hours=24)

_MINE = sa.and_(
    IdempotencyKey.account_id == sa.bindparam("account"), IdempotencyKey.key == sa.bindparam("mine")
)
_COLUMNS = (
    IdempotencyKey.post_id,
    IdempotencyKey.answer,
    IdempotencyKey.body_digest,
    IdempotencyKey.made_at,
)
_FIRST = sa.select(*_COLUMNS).where(_MINE)
_FORGOTTEN = sa.delete(IdempotencyKey).where(_MINE)
_KEPT = sa.insert(IdempotencyKey)
_EXPIRED = IdempotencyKey.made_at < sa.bindparam("before")
_ANY_EXPIRED = sa.select(IdempotencyKey.post_id).where(_EXPIRED).limit(1)
_REMOVE_EXPIRED = sa.delete(IdempotencyKey).where(_EXPIRED)
_LOCK = sa.select(sa.func.pg_try_advisory_xact_lock(sa.bindparam("number", type_=sa.BigInteger)))


def digest(photo_url: str, description: str) -> str:
    """What tells two bodies apart, however they were spelled in JSON."""
    return hashlib.sha256(json.dumps([photo_url, description]).encode()).hexdigest()


def claim(
    stores: Stores, connection: Connection, account: int, key: str, body_digest: str
) -> Row[int, str, str, dt.datetime] | None:
    """The post and answer of the first upload with this key; None if this is the first, which the key is then held for.

    Raises `Conflict` while another upload with the key is running, `Invalid` if the first one had another body.
    """
    _hold(stores, connection, account, key)
    mine = {"account": account, "mine": key}
    row = connection.execute(_FIRST, mine).first()
    if row is None:
        return None
    if row.made_at < now() - KEPT_FOR:
        connection.execute(_FORGOTTEN, mine)
        return None
    if row.body_digest != body_digest:
        raise Invalid(
            "headers",
            "Idempotency-Key",
            "This key was used with another body. Use a new key for a new post.",
        )
    return row


def keep(
    connection: Connection, account: int, key: str, body_digest: str, *, post_id: int, answer: bytes
) -> None:
    """Remember the answer."""
    row = {
        "account_id": account,
        "key": key,
        "body_digest": body_digest,
        "post_id": post_id,
        "answer": answer.decode(),
        "made_at": now(),
    }
    connection.execute(_KEPT, row)


def remove_expired(stores: Stores) -> None:
    """Remove the answers that are older than `KEPT_FOR`."""
    expired = {"before": now() - KEPT_FOR}
    with stores.sql.reading() as connection:
        if connection.scalar(_ANY_EXPIRED, expired) is None:
            return
    with stores.sql.writing() as connection:
        connection.execute(_REMOVE_EXPIRED, expired)


def _hold(stores: Stores, connection: Connection, account: int, key: str) -> None:
    """Let one transaction at a time work under a key. On SQLite every writing one is alone."""
    if stores.sql.is_sqlite:
        return
    number = int.from_bytes(
        hashlib.sha256(f"{account} {key}".encode()).digest()[:8], "big", signed=True
    )
    if not connection.scalar(_LOCK, {"number": number}):
        raise Conflict(
            "An upload with this Idempotency-Key is still running. Ask again in a moment."
        )
