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
from typing import TYPE_CHECKING, NamedTuple, cast

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
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.redis.tail_hint import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from feedsvc.paging import Cursor
    from feedsvc.store import Stores
    from feedsvc.store.near_cache.snapshot import Snapshot
    from feedsvc.store.redis.round_trip import Answer

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
    is_all = page is None or not page.is_first
    key = stores.keys.homefeed(viewer)
    ask_home = tail_hint.ask_whole if is_all else tail_hint.ask_head
    trip = RoundTrip(stores.redis)
    visible = trip.ask("GET", stores.keys.relations(viewer), parse=relations.parse)
    snapshot = stores.near_cache.ask(trip)
    trip.then()
    asked = ask_home(trip, key)
    if page is not None:
        trip.ask("EXPIRE", key, stores.limits.feed_ttl_seconds)
        read_counts.count(stores, trip, viewer)
    stores.usage.add(trip)
    trip.run()
    authors, known = visible.value, snapshot.value
    in_order = (
        authors is not None and known is not None
    )  # the home list was read after the celebrities
    if authors is None:
        authors = relations.visible_authors(stores, viewer)
    if known is None:
        known = celebrity_lists.reload(stores)
    copied, missing = _copied(known, authors)
    read: list[CachedList] = []
    home = asked.value
    if missing or not in_order:
        read, home = _lists_then_home(stores, known, missing, lambda trip: ask_home(trip, key))
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


def _lists_then_home(
    stores: Stores,
    known: Snapshot,
    authors: Sequence[int],
    ask_home: Callable[[RoundTrip], tail_hint.HeadAnswers | Answer[Home | None]],
) -> tuple[list[CachedList], Home | None]:
    """The lists of these authors, which this process keeps copies of from now on, and the home list read after them.

    The home list is None if it is to be read later still.
    """
    trip = RoundTrip(stores.redis)
    numbers = {author: celebrities.ask_number(trip, author) for author in authors}
    trip.then()
    listed = {author: lists.ask(trip, keys.celebrity_posts(author)) for author in authors}
    trip.then()
    home = ask_home(trip)
    trip.run()
    copies = {
        author: held(answer.value or celebrity_lists.rebuild(stores, author))
        for author, answer in listed.items()
    }
    stores.near_cache.hold(known, copies)
    _forget_empty(
        stores,
        known,
        {author: numbers[author].value for author in authors if copies[author] == _EMPTY},
    )
    if any(answer.value is None for answer in listed.values()):
        return list(copies.values()), None  # SQL was read after the home list
    return list(copies.values()), home.value


def _forget_empty(stores: Stores, known: Snapshot, empty: dict[int, float | None]) -> None:
    """Drop authors with nothing on their list, here and, unless they were put again since they had these numbers, in the set."""
    celebrities.remove(stores.redis, empty)
    stores.near_cache.forget(known, empty)
