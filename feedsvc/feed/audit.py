"""Comparing stored feeds with the database: every post that a feed says is on it must be.

A post in flight is no difference: only those count whose last feed had them before the feed was looked at, and only if the feed
still is what it was afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.graph.accounts import require
from feedsvc.store.redis import keys, lists
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Follow, Post
from feedsvc.views import home

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from feedsvc.store import Stores
    from feedsvc.store.redis.lists import FloorList


@dataclass(frozen=True)
class Missing:
    """A post that a stored feed lacks."""

    viewer: int
    post_id: int


@dataclass(frozen=True)
class Audit:
    """How many accounts were drawn, how many of them had a stored feed, and what is wrong with those."""

    accounts: int
    stored: int
    missing: list[Missing]


def audit(stores: Stores, sample: int | None, progress: Callable[[int], None] = lambda _: None) -> Audit:
    """Compare the stored feeds of a random sample of accounts (None: of all) with the database."""
    viewers = _draw(stores, sample)
    stored, missing = 0, []
    for viewer in viewers:
        found = _compare(stores, viewer)
        stored += found is not None
        missing += [Missing(viewer, post_id) for post_id in found or ()]
        progress(1)
    return Audit(len(viewers), stored, missing)


def rebuild(stores: Stores, viewer: int) -> FloorList:
    """Throw the stored feed of an account away and read it from the database again. Raises `NotFound`."""
    with stores.sql.reading() as connection:
        require(connection, viewer)
    stores.redis.delete(keys.homefeed(viewer), keys.relations(viewer))
    return home.rebuild(stores, viewer)


def _draw(stores: Stores, sample: int | None) -> list[int]:
    query = sa.select(Account.id).where(~Account.deleting)
    if sample is not None:
        query = query.order_by(sa.func.random()).limit(sample)
    with stores.sql.reading() as connection:
        return list(connection.scalars(query))


def _compare(stores: Stores, viewer: int) -> list[int] | None:
    """The ids that the viewer's stored feed lacks; None if it is not stored, or changed while it was looked at."""
    looked_at = now()
    before = _stored(stores, viewer)
    if before is None:
        return None
    expected = _belonging(stores, viewer, before.floor, looked_at)
    after = _stored(stores, viewer)
    if after is None or after.floor != before.floor:
        return None
    return sorted(expected.difference(before.ids, after.ids))


def _stored(stores: Stores, viewer: int) -> FloorList | None:
    return lists.read(stores.redis, keys.homefeed(viewer))


def _belonging(stores: Stores, viewer: int, floor: int, pushed_before: dt.datetime) -> set[int]:
    """Posts above the floor that every feed of a follower had before that moment."""
    authors = sa.select(Follow.followee_id).where(Follow.follower_id == viewer)
    query = sa.select(Post.id).where(
        sa.or_(Post.author_id.in_(authors), Post.author_id == viewer),
        Post.id > floor,
        Post.route == "push",
        Post.pushed_at < pushed_before,
        Post.deleted_at.is_(None),
    )
    with stores.sql.reading() as connection:
        return set(connection.scalars(query))
