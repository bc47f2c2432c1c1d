"""`relations:<viewer>`: whose posts the viewer sees: those it follows, less the muted and blocked, and itself."""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, bindparam, exists, select

from feedsvc.errors import NotFound
from feedsvc.store.redis import leases
from feedsvc.store.sql.tables import Account, Block, Follow, Mute

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.store import Stores

_VIEWER = bindparam("viewer", type_=BigInteger)
_IS_THERE = select(Account.id).where(Account.id == _VIEWER, ~Account.deleting)
_SEEN = select(Follow.followee_id).where(
    Follow.follower_id == _VIEWER,
    ~exists().where(Mute.account_id == _VIEWER, Mute.muted_id == Follow.followee_id),
    ~exists().where(Block.account_id == _VIEWER, Block.blocked_id == Follow.followee_id),
    ~exists().where(Block.account_id == Follow.followee_id, Block.blocked_id == _VIEWER),
)


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
    if connection.scalar(_IS_THERE, {"viewer": viewer}) is None:
        raise NotFound("account", viewer)
    return [viewer, *connection.scalars(_SEEN, {"viewer": viewer})]


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
