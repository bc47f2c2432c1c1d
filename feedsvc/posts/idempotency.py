"""Remember the post of an upload under its idempotency key. Repeats get its answer for 24 hours.

The answer is not stored, so no text outlives its post here. A repeat has the body of the first
upload. Its answer is made again from this body and the post's id.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.errors import Conflict, Invalid
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import IdempotencyKey

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.store import Stores

# A repeated upload gets the first answer for this long after the first upload.
EXPIRES_AFTER = dt.timedelta(hours=24)

_THIS_KEY = sa.and_(
    IdempotencyKey.account_id == sa.bindparam("account"),
    IdempotencyKey.key == sa.bindparam("this_key"),
)
_EXPIRED = IdempotencyKey.made_at < db_time(-EXPIRES_AFTER)
_SELECT = sa.select(
    IdempotencyKey.post_id, IdempotencyKey.body_digest, _EXPIRED.label("is_expired")
).where(_THIS_KEY)
_DELETE = sa.delete(IdempotencyKey).where(_THIS_KEY)
_INSERT = sa.insert(IdempotencyKey).values(made_at=db_time())
_ANY_EXPIRED = sa.select(IdempotencyKey.post_id).where(_EXPIRED).limit(1)
_DELETE_EXPIRED = sa.delete(IdempotencyKey).where(_EXPIRED)
_LOCK = sa.select(sa.func.pg_try_advisory_xact_lock(sa.bindparam("number", type_=sa.BigInteger)))


def digest(photo_url: str, description: str) -> str:
    """Return a digest of the two fields.

    Spaces and key order in the JSON of the request do not change the digest.
    """
    return hashlib.sha256(json.dumps([photo_url, description]).encode()).hexdigest()


def claim(
    stores: Stores, connection: Connection, account: int, key: str, body_digest: str
) -> int | None:
    """Lock a key, and return the post of its first upload.

    Returns None if the key is new or has expired. Raises `Conflict` while another upload with the
    key is running. Raises `Invalid` if the first upload had another body.
    """
    _lock(stores, connection, account, key)
    this_key = {"account": account, "this_key": key}
    row = connection.execute(_SELECT, this_key).first()
    if row is None:
        return None
    if row.is_expired:
        connection.execute(_DELETE, this_key)
        return None
    if row.body_digest != body_digest:
        raise Invalid(
            "headers",
            "Idempotency-Key",
            "This key was used with another body. Use a new key for a new post.",
        )
    return int(row.post_id)


def store(
    connection: Connection, account: int, key: str, body_digest: str, *, post_id: int
) -> None:
    """Remember the post, for later uploads with the same key."""
    row = {
        "account_id": account,
        "key": key,
        "body_digest": body_digest,
        "post_id": post_id,
    }
    connection.execute(_INSERT, row)


def remove_expired(stores: Stores) -> None:
    """Forget the keys that are older than `EXPIRES_AFTER`."""
    with stores.sql.reading() as connection:
        if connection.scalar(_ANY_EXPIRED) is None:
            return
    with stores.sql.writing() as connection:
        connection.execute(_DELETE_EXPIRED)


def _lock(stores: Stores, connection: Connection, account: int, key: str) -> None:
    """Let one transaction at a time use a key.

    SQLite has one writer at a time, so it needs no lock.
    """
    if stores.sql.is_sqlite:
        return
    number = int.from_bytes(
        hashlib.sha256(f"{account} {key}".encode()).digest()[:8], "big", signed=True
    )
    if not connection.scalar(_LOCK, {"number": number}):
        raise Conflict(
            "An upload with this Idempotency-Key is still running. Ask again in a moment."
        )
