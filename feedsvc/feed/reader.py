"""Reading a home feed: celebrity lists first, the home list after, SQL at and below their horizon.

The order is what keeps a post that is just being moved: it is put into the home lists before it leaves the celebrity list, so
whoever misses it on the celebrity list finds it in the home list, read later. A first page is one round trip, and one more for
posts that this process has not shown of late, without SQL.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from feedsvc import post_ids
from feedsvc.cache import celebrity_lists, feed_queries, post_bodies, relations
from feedsvc.cache import home_feeds as homefeed
from feedsvc.feed import walk
from feedsvc.feed.merge import Merged
from feedsvc.feed.walk import Item
from feedsvc.paging import Kind, Newer, Page
from feedsvc.store.near_cache.snapshot import CachedList, held
from feedsvc.store.redis import celebrities, keys, lists, read_counts, tail_hint
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.redis.scripts import in_one_trip
from feedsvc.store.redis.tail_hint import Home

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from redis.client import Pipeline

    from feedsvc.paging import Cursor
    from feedsvc.store import Stores
    from feedsvc.store.near_cache.snapshot import Snapshot

_EMPTY = held(FloorList([], 0))
_FLOOR = itemgetter(CachedList._fields.index("floor"))


def home_page(stores: Stores, viewer: int, cursor: str | None, limit: int) -> Page[bytes]:
    """A page of the viewer's home feed, each item the JSON of one post. Raises `NotFound` for an unknown viewer, `BadCursor`."""
    settled, began = post_ids.watermark(), time.perf_counter()
    at = walk.start(Kind.FEED, cursor)
    try:
        feed = look(stores, viewer, Asked(at, limit, settled))
        page = walk.page(feed, Kind.FEED, at, limit, settled)
    except _HeadIsTooShort:
        feed = look(stores, viewer)
        page = walk.page(feed, Kind.FEED, at, limit, settled)
    stores.usage.note(time.perf_counter() - began, feed.lists)
    return page


class _HeadIsTooShort(Exception):
    """SQL would be asked for what the rest of the home list says."""


@dataclass(frozen=True)
class Feed:
    """A viewer's feed at one moment: what its lists hold above their horizon; what lies below is asked of SQL when needed.

    `lists`: celebrity lists that were merged. `is_head`: below the horizon the home list may say more.
    """

    stores: Stores
    viewer: int
    known: Snapshot
    authors: frozenset[int]
    merged: Merged
    lists: int
    is_head: bool

    @property
    def horizon(self) -> int:
        """The id above which the lists are complete."""
        return self.merged.horizon

    def below(self, position: int, count: int) -> list[Item]:
        """See `walk.Posts`."""
        found: list[Item] = []
        lowest, wanted, tried = position, count, 0
        while True:
            ids = self.merged.below(lowest, wanted) or self._sql_below(lowest, wanted)
            found += self._visible(ids)
            if len(found) >= count or not ids:
                return found[:count]
            tried += len(ids)
            lowest, wanted = (
                ids[-1],
                max(count - len(found), tried),
            )  # as many more as turned out hidden, and soon many

    def above(self, position: int, shown: Collection[int], count: int) -> list[Item]:
        """See `walk.Posts`."""
        found: list[Item] = []
        highest, wanted = position, count + len(shown)
        while True:
            ids = self._ids_above(highest, wanted)
            found += self._visible([post_id for post_id in ids if post_id not in shown])
            if len(found) >= count or len(ids) < wanted:
                return found[:count]
            highest = ids[-1]

    def ids_above(self, position: int) -> list[int]:
        """See `walk.Posts`."""
        return self._ids_above(position, None)

    def _sql_below(self, position: int, count: int) -> list[int]:
        below = min(position, self.horizon + 1)
        return (
            self._from_sql(above=0, below=below, count=count, order="newest first")
            if below > 1
            else []
        )

    def _ids_above(self, position: int, count: int | None) -> list[int]:
        ids = []
        if position < self.horizon:
            ids = self._from_sql(
                above=position, below=self.horizon + 1, count=count, order="oldest first"
            )
        return ids + self.merged.above(position, None if count is None else count - len(ids))

    def _visible(self, ids: Sequence[int]) -> list[Item]:
        """Those of these posts that are there and not hidden."""
        found = zip(ids, post_bodies.read_held(self.stores, self.known, ids), strict=True)
        return [
            Item(post_id, body.json)
            for post_id, body in found
            if body is not None and body.author_id in self.authors
        ]

    def _from_sql(
        self, *, above: int, below: int, count: int | None, order: feed_queries.Order
    ) -> list[int]:
        if self.is_head:
            raise _HeadIsTooShort
        with self.stores.sql.reading() as connection:
            return feed_queries.seen(
                self.stores,
                connection,
                self.viewer,
                above=above,
                below=below,
                count=count,
                order=order,
            )


class Asked(NamedTuple):
    """The page that a reader asks for."""

    at: Cursor
    limit: int
    settled: int

    @property
    def is_first(self) -> bool:
        """Whether it may be within the head of a home list: a first page, or what came after one."""
        return self.limit <= tail_hint.PAGE and (
            isinstance(self.at, Newer) or self.at.position >= walk.TOP
        )

    def is_within(self, home: Home) -> bool:
        """Whether it takes no more of the home list than this."""
        if home.whole:
            return True
        if isinstance(self.at, Newer):
            return home.floor <= self.at.position
        return (
            home.floor <= self.settled
            and len(home.ids) - bisect_right(home.ids, home.floor) > self.limit
        )


def look(stores: Stores, viewer: int, page: Asked | None = None) -> Feed:
    """The viewer's feed now. Raises `NotFound` for an unknown viewer.

    With a page, no more than that takes; the read is counted, and puts off the day on which the home list expires.
    """
    copies: list[Snapshot] = []
    is_all = page is None or not page.is_first
    key = stores.keys.homefeed(viewer)

    def queue(pipe: Pipeline) -> None:
        pipe.get(stores.keys.relations(viewer))
        copies[:] = [stores.near_cache.ask(pipe)]

    def then(pipe: Pipeline) -> None:
        tail_hint.queue(pipe, key, is_all=is_all)
        if page is not None:
            pipe.expire(key, stores.limits.feed_ttl_seconds)
            read_counts.count(stores, pipe, viewer)
        stores.usage.queue(pipe)

    raw_relations, news, *answers = in_one_trip(stores.redis, queue, then)
    authors = relations.parse(raw_relations)
    known = stores.near_cache.learn(copies[0], news)
    in_order = (
        authors is not None and known is not None
    )  # the home list was read after the celebrities
    if authors is None:
        authors = relations.visible_authors(stores, viewer)
    if known is None:
        known = celebrity_lists.reload(stores)
    copied, missing = _copied(known, authors)
    read: list[CachedList] = []
    if missing or not in_order:
        read, answers = _lists_then_head(stores, known, missing, key, is_all=is_all)
    home = tail_hint.parse(*answers[: tail_hint.ANSWERS]) if answers else None
    if home is None or not (page is None or page.is_within(home)):
        home = _whole_home(stores, viewer)
    celebrity_lists.prune(stores, known)
    merged = _merged(known, authors, copied, read, home)
    is_head = not home.whole and merged.horizon == home.floor
    return Feed(stores, viewer, known, authors, merged, len(copied) + len(read), is_head)


def _copied(known: Snapshot, authors: frozenset[int]) -> tuple[list[CachedList], list[int]]:
    """Of the celebrities among these authors: the lists that this process has copies of, and those who are missing."""
    followed = known.among(authors)
    copies = known.held(followed)
    if all(copies):  # as almost always, and they may be many
        return cast("list[CachedList]", copies), []
    missing = [author for author, copy in zip(followed, copies, strict=True) if copy is None]
    return [copy for copy in copies if copy is not None], missing


def _whole_home(stores: Stores, viewer: int) -> Home:
    """All of the home list, which is rebuilt if it is absent; the next reader of a first page need not read it all."""
    key = stores.keys.homefeed(viewer)
    raw = cast("list[bytes]", stores.redis.lrange(key, 0, -1))
    found = tail_hint.whole(raw)
    if found is None:
        rebuilt = homefeed.rebuild(stores, viewer)
        return Home(sorted(rebuilt.ids), rebuilt.floor)
    tail_hint.leave_note(stores.redis, key, raw)
    return found


def _merged(
    known: Snapshot,
    authors: frozenset[int],
    copied: list[CachedList],
    read: list[CachedList],
    home: Home,
) -> Merged:
    # A copy may not have the news: another thread may have begun the copies anew meanwhile.
    news = sorted(put.post_id for put in known.news if put.author in authors)
    floors = map(_FLOOR, copied) if home.floor < known.highest_floor else ()
    horizon = max(home.floor, max(floors, default=0), max(map(_FLOOR, read), default=0))
    return Merged(
        copied, [*(each.ids for each in read), news, home.ids], horizon, known.latest, authors
    )


def _lists_then_head(
    stores: Stores, known: Snapshot, authors: Sequence[int], key: str, *, is_all: bool
) -> tuple[list[CachedList], list[Any]]:
    """The lists of these authors, which this process keeps copies of from now on, and the head of the home list after they were read.

    The head is as Redis answers; nothing if the home list is to be read later still.
    """

    def first(pipe: Pipeline) -> None:
        celebrities.queue_numbers(pipe, authors)

    def then(pipe: Pipeline) -> None:
        for author in authors:
            pipe.lrange(keys.celebrity_posts(author), 0, -1)

    def last(pipe: Pipeline) -> None:
        tail_hint.queue(pipe, key, is_all=is_all)

    answers = in_one_trip(stores.redis, first, then, last)
    numbers, head = answers[: len(authors)], answers[2 * len(authors) :]
    parsed = [lists.parse(answer) for answer in answers[len(authors) : 2 * len(authors)]]
    found = [
        posts or celebrity_lists.rebuild(stores, author)
        for author, posts in zip(authors, parsed, strict=True)
    ]
    copies = dict(zip(authors, map(held, found), strict=True))
    stores.near_cache.hold(known, copies)
    _forget_empty(
        stores,
        known,
        {
            author: number
            for author, number in zip(authors, numbers, strict=True)
            if copies[author] == _EMPTY
        },
    )
    return list(copies.values()), [] if None in parsed else head  # SQL was read after the home list


def _forget_empty(stores: Stores, known: Snapshot, empty: dict[int, float | None]) -> None:
    """Drop authors with nothing on their list, here and, unless they were put again since they had these numbers, in the set."""
    celebrities.remove(stores.redis, empty)
    stores.near_cache.forget(known, empty)
