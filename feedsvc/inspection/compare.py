"""Compare one stored feed, and the feed that the reader serves from it, with the database.

Changes in progress are not differences. A post is missing only if SQL has it before and after the
reader runs, and extra only if SQL has it neither before nor after. Posts above the watermark,
and posts that a pending outbox row concerns, are left to a later comparison.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.cache import feed_queries, post_bodies
from feedsvc.feed import reader
from feedsvc.store.redis import lists
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from feedsvc.feed.reader import Feed
    from feedsvc.outbox import Pending
    from feedsvc.store import Stores

# Ids in one query: below the limit on parameters of every database.
_CHUNK = 1_000


@dataclass(frozen=True)
class Comparison:
    """The post ids that one comparison of a feed with the database found.

    `missing`: ids that belong in the feed, but are not in it.
    `extra`: ids that are served, but do not belong in the feed.
    `twice`: ids that the stored list has more than once.
    """

    missing: frozenset[int] = frozenset()
    extra: frozenset[int] = frozenset()
    twice: frozenset[int] = frozenset()

    def confirmed_by(self, later: Comparison) -> Comparison:
        """Return the differences that both comparisons found, with the repeats of the later one."""
        return Comparison(self.missing & later.missing, self.extra & later.extra, later.twice)


def compare(stores: Stores, viewer: int, floor: int) -> Comparison | None:
    """Compare the viewer's stored feed, which had this floor, with the database.

    Return None if the feed changed during the comparison. Return None also if a pending outbox row
    concerns the viewer, because the stores may still disagree. Raises `NotFound` if the account is
    gone.
    """
    stores.watermark.rise(stores.sql, stores.redis)
    watermark = (stores.watermark.value or 0) + 1
    pending = outbox.pending(stores)
    with stores.sql.reading() as connection:
        delivered = feed_queries.delivered(stores, connection, viewer, above=floor, below=watermark)
    missing, extra = _wrongly_served(stores, viewer, watermark)
    # The list is read after SQL: a post that SQL had as delivered was on every feed by then.
    raw = cast("list[bytes]", stores.redis.lrange(stores.keys.homefeed(viewer), 0, -1))
    stored = lists.parse(raw)
    pending = pending.union(outbox.pending(stores))
    if stored is None or stored.floor != floor or pending.concerns(viewer):
        return None
    missing |= set(delivered).difference(stored.ids) | lists.above_tail_hint(raw)
    return Comparison(
        _without_pending(stores, missing, pending),
        _without_pending(stores, extra, pending),
        _repeated(stored.ids),
    )


def _wrongly_served(stores: Stores, viewer: int, watermark: int) -> tuple[set[int], set[int]]:
    """Return the missing and the extra ids between the reader's horizon and the watermark.

    An id that is served twice is extra.
    """
    # SQL is read before and after the reader. The first read gives the horizon to ask SQL above.
    horizon = _read(stores, viewer).horizon
    before = _expected(stores, viewer, horizon, watermark)
    feed = _read(stores, viewer)
    horizon = max(horizon, feed.horizon)
    served = _served(stores, feed, horizon, watermark)
    after = _expected(stores, viewer, horizon, watermark)
    missing = {post_id for post_id in before & after if post_id > horizon}.difference(served)
    return missing, set(served) - before - after | _repeated(served)


def _read(stores: Stores, viewer: int) -> Feed:
    """Read the feed with an empty near cache. This does not extend the life of the stored feed."""
    return reader.read_feed(stores.with_empty_near_cache(), viewer)


def _expected(stores: Stores, viewer: int, above: int, below: int) -> set[int]:
    """Return the ids between the bounds that SQL has in the viewer's feed."""
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
    """Return the ids between the bounds that the reader shows.

    A post's author decides. Like the reader, this takes the author from the cached body, and from
    SQL if there is none. Unlike the reader, it caches no body.
    """
    served = []
    for chunk in _chunks([post_id for post_id in feed.merged.above(above) if post_id < below]):
        cached = post_bodies.stored_authors(stores, chunk)
        uncached = [post_id for post_id in chunk if post_id not in cached]
        authors = {**cached, **_authors(stores, uncached, Post.deleted_at.is_(None))}
        served += [post_id for post_id in chunk if authors.get(post_id) in feed.authors]
    return served


def _without_pending(stores: Stores, ids: set[int], pending: Pending) -> frozenset[int]:
    """Drop the posts that a pending outbox row concerns, by the post's id or by its author's."""
    settled: set[int] = set()
    for chunk in _chunks(list(ids)):
        authors = _authors(stores, chunk)
        settled.update(
            post_id
            for post_id in chunk
            if not pending.concerns(post_id, authors.get(post_id, post_id))
        )
    return frozenset(settled)


def _authors(
    stores: Stores, ids: Sequence[int], *conditions: sa.ColumnElement[bool]
) -> dict[int, int]:
    if not ids:
        return {}
    query = sa.select(Post.id, Post.author_id).where(Post.id.in_(ids), *conditions)
    with stores.sql.reading() as connection:
        return {row.id: row.author_id for row in connection.execute(query)}


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    return (ids[first : first + _CHUNK] for first in range(0, len(ids), _CHUNK))


def _repeated(ids: Sequence[int]) -> frozenset[int]:
    return frozenset(post_id for post_id, times in Counter(ids).items() if times > 1)
