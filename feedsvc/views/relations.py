"""`relations:<viewer>`: whose posts the viewer sees: those it follows, less the muted and blocked, and itself."""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING

from sqlalchemy import exists, select

from feedsvc.errors import NotFound
from feedsvc.store.redis import leases
from feedsvc.store.sql.tables import Account, Block, Follow, Mute

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.store import Stores


def visible_authors(stores: Stores, viewer: int) -> frozenset[int]:
    """The accounts whose posts belong in the viewer's feed. Raises `NotFound` if there is no such viewer."""

    def build(_: list[int]) -> list[bytes]:
        with stores.sql.reading() as connection:
            return [_pack(_read(connection, viewer))]

    key = stores.keys.relations(viewer)
    [value] = leases.read_or_build(stores.redis, [key], build, stores.limits.feed_ttl_seconds)
    return _unpack(value)


def parse(raw: bytes | None) -> frozenset[int] | None:
    """The accounts in what GET returned; None if the view is absent or being built."""
    value = leases.valid(raw)
    return None if value is None else _unpack(value)


def _read(connection: Connection, viewer: int) -> list[int]:
    if connection.scalar(select(Account.id).where(Account.id == viewer, ~Account.deleting)) is None:
        raise NotFound("account", viewer)
    followee = Follow.followee_id
    seen = select(followee).where(
        Follow.follower_id == viewer,
        ~exists().where(Mute.account_id == viewer, Mute.muted_id == followee),
        ~exists().where(Block.account_id == viewer, Block.blocked_id == followee),
        ~exists().where(Block.account_id == followee, Block.blocked_id == viewer),
    )
    return [viewer, *connection.scalars(seen)]


def _pack(accounts: list[int]) -> bytes:
    return _little_endian(array("q", accounts)).tobytes()


def _unpack(value: bytes) -> frozenset[int]:
    accounts = array("q")
    accounts.frombytes(value)
    return frozenset(_little_endian(accounts))


def _little_endian(accounts: array[int]) -> array[int]:
    if sys.byteorder == "big":
        accounts.byteswap()
    return accounts
