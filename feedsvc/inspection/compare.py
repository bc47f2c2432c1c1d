"""One look at one stored feed: what it holds and what the reader serves from it, beside what SQL says.

What is in flight is no difference. A post must be in SQL before and after the look to be missing, and in neither to be extra;
posts younger than the settled mark, and whatever a pending change concerns, are left to a later look.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa

from feedsvc import outbox, post_ids
from feedsvc.cache import feed_queries, post_bodies
from feedsvc.errors import NotFound
from feedsvc.feed import reader
from feedsvc.store.redis import lists, tail_hint
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from feedsvc.feed.reader import Feed
    from feedsvc.outbox import Pending
    from feedsvc.store import Stores
    from feedsvc.store.redis.lists import FloorList

# Ids a query: below every database's limit of parameters.
_CHUNK = 1_000


@dataclass(frozen=True)
class Found:
    """Ids that a look found missing, served though they do not belong to the feed, or stored more than once."""

    missing: frozenset[int] = frozenset()
    extra: frozenset[int] = frozenset()
    twice: frozenset[int] = frozenset()

    def again(self, later: Found) -> Found:
        """The differences that a later look found as well; repeats are the later one's."""
        return Found(self.missing & later.missing, self.extra & later.extra, later.twice)


class NotStored(Exception):
    """There is nothing to compare: no feed, or one that is being built, or no such account any more."""


class Moved(Exception):
    """The feed was changed while it was looked at: nothing can be said."""


def compare(stores: Stores, viewer: int) -> Found:
    """Look at the viewer's stored feed once. Raises `NotStored`, `Moved`."""
    settled = post_ids.watermark()
    owed = outbox.pending(stores)
    floor = _stored(stores, viewer).floor
    with stores.sql.reading() as connection:
        delivered = feed_queries.delivered(stores, connection, viewer, above=floor, below=settled)
    missing, extra = _served_wrong(stores, viewer, settled)
    stored = _stored(stores, viewer)  # after SQL: what every feed had by then is on it
    owed = owed.union(outbox.pending(stores))
    if stored.floor != floor or owed.concerns(viewer):
        raise Moved
    missing.update(set(delivered).difference(stored.ids), _denied(stores, viewer))
    return Found(
        _not_owed(stores, missing, owed), _not_owed(stores, extra, owed), _repeated(stored.ids)
    )


def _stored(stores: Stores, viewer: int) -> FloorList:
    found = lists.read(stores.redis, stores.keys.homefeed(viewer))
    if found is None:
        raise NotStored
    return found


def _denied(stores: Stores, viewer: int) -> set[int]:
    """Ids that are on the stored list, and that a reader of its head would miss."""
    return tail_hint.belied(
        cast("list[bytes]", stores.redis.lrange(stores.keys.homefeed(viewer), 0, -1))
    )


def _served_wrong(stores: Stores, viewer: int, settled: int) -> tuple[set[int], set[int]]:
    """What the reader does not serve above its horizon and should, and what it serves and should not."""
    bound = _look(stores, viewer).horizon
    before = _seen(stores, viewer, bound, settled)
    feed = _look(stores, viewer)
    bound = max(bound, feed.horizon)
    served = _served(stores, feed, bound, settled)
    after = _seen(stores, viewer, bound, settled)
    missing = {post_id for post_id in before & after if post_id > bound}.difference(served)
    return missing, set(served) - before - after | _repeated(served)


def _look(stores: Stores, viewer: int) -> Feed:
    """What a reader that has copied nothing yet would answer from. It does not make the feed live longer."""
    try:
        return reader.look(stores.without_near_cache(), viewer)
    except NotFound as gone:
        raise NotStored from gone


def _seen(stores: Stores, viewer: int, above: int, below: int) -> set[int]:
    with stores.sql.reading() as connection:
        return set(
            feed_queries.seen(
                stores,
                connection,
                viewer,
                above=above,
                below=below,
                count=None,
                order="newest first",
            )
        )


def _served(stores: Stores, feed: Feed, above: int, below: int) -> list[int]:
    """The ids between that pass as the viewer's. No body is cached for it: one that is not cached would be read from SQL."""
    served = []
    ids = [post_id for post_id in feed.merged.above(above) if post_id < below]
    for first in range(0, len(ids), _CHUNK):
        chunk = ids[first : first + _CHUNK]
        cached = post_bodies.stored_authors(stores, chunk)
        uncached = [post_id for post_id in chunk if post_id not in cached]
        found = _authors(stores, uncached, Post.deleted_at.is_(None))
        authors = {**cached, **found}
        served += [post_id for post_id in chunk if authors.get(post_id) in feed.authors]
    return served


def _not_owed(stores: Stores, post_ids: Collection[int], owed: Pending) -> frozenset[int]:
    """Those of these posts that no pending change concerns, nor their authors."""
    kept: set[int] = set()
    ids = list(post_ids)
    for first in range(0, len(ids), _CHUNK):
        chunk = ids[first : first + _CHUNK]
        authors = _authors(stores, chunk)
        kept.update(
            post_id
            for post_id in chunk
            if not owed.concerns(post_id, authors.get(post_id, post_id))
        )
    return frozenset(kept)


def _authors(stores: Stores, post_ids: list[int], *only: sa.ColumnElement[bool]) -> dict[int, int]:
    if not post_ids:
        return {}
    with stores.sql.reading() as connection:
        rows = connection.execute(
            sa.select(Post.id, Post.author_id).where(Post.id.in_(post_ids), *only)
        )
        return {row.id: row.author_id for row in rows}


def _repeated(ids: Iterable[int]) -> frozenset[int]:
    return frozenset(post_id for post_id, times in Counter(ids).items() if times > 1)
