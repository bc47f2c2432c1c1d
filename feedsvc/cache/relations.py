"""`relations:<viewer>`: the accounts whose posts the viewer sees.

They are the viewer and its followees, except followees that the viewer mutes or blocks, or that
block the viewer.
"""

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
    from feedsvc.store.redis.round_trip import Answer, RoundTrip

_VIEWER = bindparam("viewer", type_=BigInteger)
_EXISTS = select(Account.id).where(Account.id == _VIEWER, ~Account.deleting)
_SEEN = select(Follow.followee_id).where(
    Follow.follower_id == _VIEWER,
    ~exists().where(Mute.account_id == _VIEWER, Mute.muted_id == Follow.followee_id),
    ~exists().where(Block.account_id == _VIEWER, Block.blocked_id == Follow.followee_id),
    ~exists().where(Block.account_id == Follow.followee_id, Block.blocked_id == _VIEWER),
)


def visible_authors(stores: Stores, viewer: int) -> frozenset[int]:
    """Return the accounts whose posts belong in the viewer's feed. Raises `NotFound`."""

    def build(_: list[int]) -> list[bytes | None]:
        with stores.sql.reading() as connection:
            authors = _read(connection, viewer)
        return [None if authors is None else _pack(authors)]

    key, ttl_seconds = stores.keys.relations(viewer), stores.limits.feed_ttl_seconds
    [value] = leases.read_or_build(stores.redis, [key], build, ttl_seconds)
    if value is None:
        raise NotFound("account", viewer)
    return _unpack(value)


def ask(stores: Stores, trip: RoundTrip, viewer: int) -> Answer[frozenset[int] | None]:
    """Ask for the visible authors; None if the view is absent or being built."""
    return trip.ask("GET", stores.keys.relations(viewer), parse=parse)


def parse(raw: bytes | None) -> frozenset[int] | None:
    """Return the accounts in an answer of GET; None if the view is absent or being built."""
    value = leases.valid(raw)
    return None if value is None else _unpack(value)


def _read(connection: Connection, viewer: int) -> list[int] | None:
    """Return the visible authors; None for an unknown viewer."""
    if connection.scalar(_EXISTS, {"viewer": viewer}) is None:
        return None
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
