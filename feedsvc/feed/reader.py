"""Read a home feed: celebrity lists first, the home list after them, SQL at and below the horizon.

The order matters for a post that is just being moved. The fan-out puts the post into the home lists
before it takes the post off the celebrity list. So a read that misses the post on the celebrity
list finds it in the home list, which is read later.

A first page takes one round trip and no SQL if the near cache has its celebrity lists and posts.
Posts that the near cache lacks take a second round trip.
"""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING

from feedsvc import paging
from feedsvc.cache import celebrity_lists, feed_queries, home_lists, post_bodies, relations
from feedsvc.errors import NotFound
from feedsvc.feed.merge import Merged, TimedMerged
from feedsvc.paging import Item, Kind, Newer, Page
from feedsvc.store.near_cache.snapshot import CachedList
from feedsvc.store.redis import celebrities, keys, lists, usage
from feedsvc.store.redis.faults import WriteRefused
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.redis.work import ReadClock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from feedsvc.cache.newest_posts import Order
    from feedsvc.paging import Cursor
    from feedsvc.store import Stores
    from feedsvc.store.near_cache.snapshot import Snapshot
    from feedsvc.store.redis.lists import HeadAnswer, HomeList
    from feedsvc.store.redis.round_trip import Answer

    AskHome = Callable[[RoundTrip], HeadAnswer | Answer[HomeList | None]]

_NOT_TIMED = nullcontext()
_FLOOR = itemgetter(CachedList._fields.index("floor"))


def home_page(stores: Stores, viewer: int, cursor: str | None, limit: int) -> Page[bytes]:
    """Return a page of the viewer's home feed; each item is the JSON of one post.

    Raises `NotFound` for an unknown viewer, and `BadCursor`.
    """
    began, at = time.perf_counter(), paging.start(Kind.FEED, cursor)
    if usage.is_in_sample(viewer):
        page, feed = _read_page_timed(stores, viewer, at, limit)
    else:
        page, feed = _read_page(stores, viewer, at, limit)
    # A page whose cursor has to list ids looks for a higher watermark, at most once a second. A
    # read counts only if it began after the look, so the page is read again.
    if page.is_young and stores.watermark.rise(stores.sql, stores.redis):
        page, feed = _read_page(stores, viewer, at, limit, is_served=False)
    stores.usage.note(time.perf_counter() - began, feed.merged_lists)
    return page


def _read_page(
    stores: Stores,
    viewer: int,
    at: Cursor,
    limit: int,
    *,
    is_served: bool = True,
    clock: ReadClock | None = None,
) -> tuple[Page[bytes], Feed]:
    """Return a page, and the feed that it is from."""
    watermark, from_head = stores.watermark.value, _may_fit_into_head(at, limit)
    feed = read_feed(stores, viewer, is_served=is_served, from_head=from_head, clock=clock)
    return paging.page(feed, Kind.FEED, at, limit, watermark), feed


def _read_page_timed(
    stores: Stores, viewer: int, at: Cursor, limit: int
) -> tuple[Page[bytes], Feed]:
    """Read a page like `_read_page`, and count its processor time."""
    clock = ReadClock()
    with clock.whole:
        page, feed = _read_page(stores, viewer, at, limit, clock=clock)
    cached = stores.near_cache.lists_cached
    stores.usage.note_read(clock, feed.merged_lists, cached, fetched=len(feed.fetched))
    return page, feed


@dataclass
class Feed:
    """A viewer's feed: lists answer above the horizon, SQL at and below it.

    `cached` holds the celebrity lists from the near cache. `fetched` holds the celebrity lists that
    this read got from Redis or built from SQL.

    If only the head of the home list was read, the feed reads the whole list as soon as a page
    needs ids below the head. This second read also comes after the celebrity lists, so it cannot
    miss a post that is being moved.
    """

    stores: Stores
    viewer: int
    snapshot: Snapshot
    authors: frozenset[int]
    cached: list[CachedList]
    fetched: list[CachedList]
    home: HomeList
    clock: ReadClock | None = None
    merged: Merged = field(init=False)

    def __post_init__(self) -> None:
        self._merge()

    @property
    def horizon(self) -> int:
        """The id above which the lists are complete."""
        return self.merged.horizon

    @property
    def merged_lists(self) -> int:
        """The number of celebrity lists in this feed."""
        return len(self.cached) + len(self.fetched)

    def below(self, position: int, count: int) -> list[Item]:
        """See `paging.Posts`."""
        found: list[Item] = []
        lowest, wanted, examined = position, count, 0
        while True:
            ids = self._ids_below(lowest, wanted, needed=count - len(found))
            found += self._visible(ids)
            if len(found) >= count or not ids:
                return found[:count]
            # Hidden posts left the page short. Each pass asks for at least as many ids as all
            # passes before it, so few passes suffice even if nearly all posts are hidden.
            examined += len(ids)
            lowest, wanted = ids[-1], max(count - len(found), examined)

    def above(self, position: int, shown: Collection[int], count: int) -> list[Item]:
        """See `paging.Posts`."""
        found: list[Item] = []
        highest, wanted = position, count + len(shown)
        while True:
            ids = self._ids_above(highest, wanted)
            found += self._visible([post_id for post_id in ids if post_id not in shown])
            if len(found) >= count or len(ids) < wanted:
                return found[:count]
            highest = ids[-1]

    def ids_above(self, position: int) -> list[int]:
        """See `paging.Posts`. Asks no SQL, so it lacks ids at and below the horizon."""
        if position < self.horizon:
            self._read_beyond_head()
        return self.merged.above(position, paging.MAX_SHOWN)

    def _ids_below(self, position: int, wanted: int, needed: int) -> list[int]:
        ids = self.merged.below(position, wanted)
        if len(ids) < needed and self._read_beyond_head():
            ids = self.merged.below(position, wanted)
        bottom = min(position, self.horizon + 1)
        if ids or bottom <= 1:
            return ids
        return self._read_sql(above=0, below=bottom, count=wanted, order="newest first")

    def _ids_above(self, position: int, count: int) -> list[int]:
        ids = []
        if position < self.horizon:
            self._read_beyond_head()
        if position < self.horizon:
            below = self.horizon + 1
            ids = self._read_sql(above=position, below=below, count=count, order="oldest first")
        return ids + self.merged.above(position, count - len(ids))

    def _read_beyond_head(self) -> bool:
        """Read the whole home list if only its head was read and sets the horizon.

        Return whether the list was read.
        """
        if self.home.is_whole or self.horizon > self.home.floor:
            return False
        self.home = home_lists.read_whole(self.stores, self.viewer)
        self._merge()
        return True

    def _read_sql(self, *, above: int, below: int, count: int | None, order: Order) -> list[int]:
        bounds = {"above": above, "below": below}
        with self.stores.sql.reading() as connection:
            return feed_queries.seen(
                self.stores, connection, self.viewer, **bounds, count=count, order=order
            )

    def _visible(self, ids: Sequence[int]) -> list[Item]:
        """Return the posts that exist and are not hidden from the viewer."""
        found = zip(ids, post_bodies.read_as_of(self.stores, self.snapshot, ids), strict=True)
        return [
            Item(post_id, body.json)
            for post_id, body in found
            if body is not None and body.author_id in self.authors
        ]

    def _merge(self) -> None:
        snapshot, home = self.snapshot, self.home
        # Merge the posts that this read learned from the log. If another thread has restarted the
        # near cache meanwhile, the dictionaries of this snapshot are not updated any more, so its
        # cached lists lack these posts.
        news = sorted(entry.post_id for entry in snapshot.news if entry.author in self.authors)
        floors = map(_FLOOR, self.cached) if home.floor < snapshot.highest_floor else ()
        fetched_floor = max(map(_FLOOR, self.fetched), default=0)
        horizon = max(home.floor, max(floors, default=0), fetched_floor)
        others = [*(each.ids for each in self.fetched), news, home.ids]
        sources = self.cached, others, horizon, snapshot.recent, self.authors
        self.merged = TimedMerged(*sources, self.clock.merging) if self.clock else Merged(*sources)


def read_feed(
    stores: Stores,
    viewer: int,
    *,
    is_served: bool = False,
    from_head: bool = False,
    clock: ReadClock | None = None,
) -> Feed:
    """Return the viewer's feed as it is now. Raises `NotFound` for an unknown viewer.

    `is_served`: count the read, and renew the expiry of the home list.
    `from_head`: read only the head of the home list if the head is enough.
    `clock`: time the merging of lists, and the fetching of lists that the near cache lacks.
    """
    key = stores.keys.homefeed(viewer)
    ask_home: AskHome = partial(lists.ask_head if from_head else lists.ask_home, key=key)

    trip = RoundTrip(stores.redis)
    authors_answer = relations.ask(stores, trip, viewer)
    snapshot_answer = stores.near_cache.ask(trip)
    trip.then()
    home_answer = ask_home(trip)
    if is_served:
        trip.note("EXPIRE", key, stores.limits.feed_ttl_seconds)
        usage.add_read(stores, trip, viewer)
    stores.usage.add(trip)
    trip.run()

    authors, snapshot, home = authors_answer.value, snapshot_answer.value, home_answer.value
    # The home list counts only if it was read after the relations and the log. A follow deletes
    # relations and home list together, so a home list that is older than the relations may lack the
    # posts of a new followee. A home list that is older than the snapshot may lack a post that has
    # left its celebrity list meanwhile.
    is_home_last = authors is not None and snapshot is not None and snapshot.authors is not None
    if authors is None:
        authors = _visible_authors(stores, viewer)
    if snapshot is None:
        snapshot = celebrity_lists.reload(stores)
    if snapshot.hidden:
        authors -= snapshot.hidden
    with clock.merging if clock else _NOT_TIMED:
        followed = celebrity_lists.celebrities_among(stores, snapshot, authors)
        cached, missing = stores.near_cache.get_lists(snapshot, followed)
    fetched: list[CachedList] = []
    if missing or not is_home_last:
        with clock.fetching if clock and missing else _NOT_TIMED:
            fetched, home = _fetch_lists(stores, snapshot, missing, ask_home)
    if home is None:
        home = home_lists.read_whole(stores, viewer)
    celebrity_lists.fill_if_lost(stores)
    return Feed(stores, viewer, snapshot, authors, cached, fetched, home, clock)


def _visible_authors(stores: Stores, viewer: int) -> frozenset[int]:
    """Return the viewer's relations. Removes the counted read of an unknown viewer."""
    try:
        return relations.visible_authors(stores, viewer)
    except NotFound:
        usage.remove_reads(stores, viewer)
        raise


def _may_fit_into_head(at: Cursor, limit: int) -> bool:
    """Return whether the head may be enough.

    It may be enough for a first page or a poll of newer posts, of at most `HEAD_PAGE` posts.
    """
    is_first_page_or_poll = isinstance(at, Newer) or at.position >= paging.TOP
    return limit <= lists.HEAD_PAGE and is_first_page_or_poll


def _fetch_lists(
    stores: Stores, snapshot: Snapshot, authors: Sequence[int], ask_home: AskHome
) -> tuple[list[CachedList], HomeList | None]:
    """Fetch celebrity lists and cache them, and read the home list after them.

    The home list is None if the caller has to read it again. Then it is absent or being built, or
    its head is not enough, or a celebrity list was built from SQL after the home list was read.
    """
    trip = RoundTrip(stores.redis)
    numbers = celebrities.ask_numbers(trip, authors) if authors else None
    trip.then()
    answers = {author: lists.ask(trip, keys.celebrity_posts(author)) for author in authors}
    trip.then()
    home = ask_home(trip)
    trip.run()
    fetched = {
        author: CachedList.of(answer.value or celebrity_lists.rebuild(stores, author))
        for author, answer in answers.items()
    }
    stores.near_cache.store_lists(snapshot, fetched)
    if numbers is not None:
        latest = zip(authors, numbers.value, strict=True)
        empty = {author: number for author, number in latest if fetched[author].is_empty}
        with suppress(WriteRefused):  # a read then fetches an empty list, and is exact
            celebrities.remove(stores.redis, empty)
    is_built = any(answer.value is None for answer in answers.values())
    return list(fetched.values()), None if is_built else home.value
