"""Fixture viewers: accounts in the scratch stores whose reads are measured.

Their kinds differ in the celebrity lists that a read merges: no list, a short one, a long one, or
many lists of one post each. Home feeds hold all posts of the day, also the posts on celebrity
lists. So a process that sees the lists serves the same pages as a process that sees none.

Three `Stores`, each with a near cache of its own, stand for three processes. The first one caches
many more lists than the viewers merge. So the memory that a read touches is in no cache of the
processor. A read searches the recent posts of all cached lists, and few of them are by the
celebrities of one viewer, as in production. The second one caches few lists. The third one caches
no list.
"""

from __future__ import annotations

import time
from itertools import chain, count, cycle, islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import post_ids
from feedsvc.cache import celebrity_lists
from feedsvc.feed import reader
from feedsvc.graph import follows
from feedsvc.planning.calibration.fixture_accounts import (
    feed_length,
    fill_lists,
    insert_follows,
    older_ids,
)
from feedsvc.planning.costs import PAGE_POSTS
from feedsvc.store.near_cache.snapshot import CachedList
from feedsvc.store.redis import invalidation_log, keys
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from feedsvc.store import Stores

# The kinds of viewers, by the lists that their reads merge.
NONE, ONE, ONE_LONG, MANY, AMONG_FEW = (
    "no list",
    "a list",
    "a long list",
    "lists",
    "lists among few",
)
# Viewers of each kind. They read in turn, so that no read finds its data in the processor's caches.
VIEWERS = 400
# Posts of the day on a short list and on a long one, which fills a page.
SHORT, LONG = 5, PAGE_POSTS
# The celebrities of a viewer of many lists, each with one post of the day. 12 stands for all other
# numbers of lists: the more a read merges, the less each one costs (docs/evidence/threshold.md).
LISTS = 12
# A viewer of many lists also follows this many accounts without a list.
_WITHOUT_LIST = 30
# The lists that the second process caches.
FEW = 1_000
# Pushed posts of the day in a full home feed and in a young one. A young feed does not fill a page,
# so a read merges its lists twice.
_PUSHED, _YOUNG = 30, 3
# One home feed in 4 is full.
_FULL_ONE_IN = 4
_POSTS_PER_LIST = {ONE: SHORT, ONE_LONG: LONG, MANY: 1}
# Other authors, whose lists get new posts. No fixture viewer follows them at first.
_OTHERS = 10
_HOUR_MS = 3_600_000

# The author of the pushed posts. It has the lowest id of the fixture viewers and their celebrities.
# Authors that exist only in the near cache have ids below `_CACHED_ONLY_BELOW`. No fixture account
# has one of these ids.
_PUSHED_AUTHOR = 9_007_199_254_780_000
_CACHED_ONLY_BELOW = _PUSHED_AUTHOR - 100_000


class FixtureViewers:
    """Viewers by kind, and their celebrities.

    A celebrity belongs to one viewer, except the celebrities that the second process caches.
    `more_lists`: how many lists `stores` caches besides the ones that viewers merge.
    """

    def __init__(self, stores: Stores, more_lists: int, source: random.Random) -> None:
        self.stores = stores
        self.few_lists = stores.with_empty_near_cache()
        self.no_lists = stores.with_empty_near_cache()
        # How many lists `stores` caches once it is built.
        self.cached_lists = 0
        self._more_lists = more_lists
        self._source = source
        account = count(_PUSHED_AUTHOR + 1)
        own_lists = {NONE: 0, ONE: 1, ONE_LONG: 1, MANY: LISTS}
        self.viewers = {kind: list(islice(account, VIEWERS)) for kind in (*own_lists, AMONG_FEW)}
        self._few = list(islice(account, FEW))
        self.others = list(islice(account, _OTHERS))
        self._celebrities = {
            kind: {viewer: list(islice(account, lists)) for viewer in self.viewers[kind]}
            for kind, lists in own_lists.items()
        }
        self._celebrities[AMONG_FEW] = {
            viewer: source.sample(self._few, LISTS) for viewer in self.viewers[AMONG_FEW]
        }
        self._old_ids, self._sequence, self._followed = count(2), count(), count()

    def build(self) -> None:
        """Create accounts, posts and lists, and fill the near caches."""
        insert_follows(self.stores, [*self._follows()])
        today = int(time.time() * 1000) - _HOUR_MS
        day = range(today - 24 * _HOUR_MS, today)
        few = self._insert_posts(self._few, 1, day)
        lists = self._insert_posts(self.others, SHORT, day)
        for kind, posts in _POSTS_PER_LIST.items():
            authors = chain.from_iterable(self._celebrities[kind].values())
            lists |= self._insert_posts(authors, posts, day)
        by_key = {keys.celebrity_posts(author): ids for author, ids in (lists | few).items()}
        fill_lists(self.stores, by_key, floor=0)
        self._fill_feeds(lists | few, day)
        celebrity_lists.reload(self.stores.with_empty_near_cache())  # stores the set of celebrities
        lists |= {
            _CACHED_ONLY_BELOW - number: self._newest_first(SHORT, day)
            for number in range(1, self._more_lists + 1)
        }
        self.cached_lists = len(lists)
        for process, cached in (self.stores, lists), (self.few_lists, few), (self.no_lists, {}):
            self._fill_near_cache(process, cached)
        for kind, viewers in self.viewers.items():
            for viewer in viewers:
                reader.home_page(self.process_of(kind), viewer, None, PAGE_POSTS)
                reader.home_page(self.no_lists, viewer, None, PAGE_POSTS)

    def process_of(self, kind: str) -> Stores:
        """Return the stores of the process that caches the celebrities of this kind of viewers."""
        return self.few_lists if kind == AMONG_FEW else self.stores

    def draw(self, number: int, size: int) -> list[tuple[str, int]]:
        """Return the kinds and viewers of round `number`, in random order.

        They are the next `size` viewers of each kind with lists, in turn, and 4 · `size` viewers
        without lists.
        """
        drawn = [
            (kind, viewer)
            for kind in (ONE, ONE_LONG, MANY, AMONG_FEW)
            for viewer in self._slice(kind, number, size)
        ]
        drawn += [(NONE, viewer) for viewer in self._slice(NONE, number, len(drawn))]
        self._source.shuffle(drawn)
        return drawn

    def _slice(self, kind: str, number: int, size: int) -> Iterator[int]:
        first = number * size % VIEWERS
        return islice(cycle(self.viewers[kind]), first, first + size)

    def follow(self) -> None:
        """Let another author follow one of the celebrities of the second process."""
        number = next(self._followed)
        follower = self.others[number % len(self.others)]
        followee = self._few[number // len(self.others) % len(self._few)]
        follows.follow(self.stores, follower, followee)

    def put_old_post(self) -> None:
        """Put a post on another author's list. It is so old that no page shows it."""
        post_id = next(self._old_ids)
        author = self.others[post_id % len(self.others)]
        self._insert([(post_id, author)], "pull")
        celebrity_lists.put(self.stores, author, post_id)

    def _follows(self) -> Iterator[tuple[int, int]]:
        viewers = [*chain.from_iterable(self.viewers.values())]
        for follower in (*viewers, *self.others, *self._few):
            yield follower, _PUSHED_AUTHOR
        for celebrities in self._celebrities.values():
            for viewer, authors in celebrities.items():
                yield from ((viewer, author) for author in authors)
        for viewer in self.viewers[MANY] + self.viewers[AMONG_FEW]:
            others = self._source.sample(viewers, min(_WITHOUT_LIST, len(viewers)))
            yield from ((viewer, other) for other in others if other != viewer)

    def _fill_feeds(self, lists: Mapping[int, list[int]], day: range) -> None:
        """Fill the home feeds with posts of the day, and full ones with older ids too."""
        limits = self.stores.limits
        [pushed] = self._insert_posts([_PUSHED_AUTHOR], VIEWERS * _PUSHED, day, "push").values()
        older = older_ids(post_ids.lowest_of(day[0]), limits)
        full, young = dict[str, list[int]](), dict[str, list[int]]()
        for celebrities in self._celebrities.values():
            for number, (viewer, authors) in enumerate(celebrities.items()):
                key = self.stores.keys.homefeed(viewer)
                own = [*chain.from_iterable(lists[author] for author in authors)]
                recent = pushed[number::VIEWERS]
                if number % _FULL_ONE_IN:
                    young[key] = sorted([*recent[:_YOUNG], *own], reverse=True)
                else:
                    ids = [*sorted([*recent, *own], reverse=True), *older]
                    full[key] = ids[: feed_length(self._source, limits)]
        fill_lists(self.stores, full, floor=1)
        fill_lists(self.stores, young, floor=0)

    def _fill_near_cache(self, process: Stores, lists: Mapping[int, list[int]]) -> None:
        """Let a process cache the given lists only. They are stored in random order."""
        authors = list(lists)
        self._source.shuffle(authors)
        snapshot = process.near_cache.reload(*invalidation_log.position(process.redis), authors)
        copies = {author: CachedList.of(FloorList(lists[author], 0)) for author in authors}
        process.near_cache.store_lists(snapshot, copies)

    def _insert_posts(
        self, authors: Iterable[int], posts: int, day: range, route: str = "pull"
    ) -> dict[int, list[int]]:
        """Insert posts of each author at random times of the day. Returns ids, newest first."""
        made = {author: self._newest_first(posts, day) for author in authors}
        self._insert([(post_id, author) for author, ids in made.items() for post_id in ids], route)
        return made

    def _newest_first(self, posts: int, day: range) -> list[int]:
        ids = (post_ids.make(self._source.choice(day), next(self._sequence)) for _ in range(posts))
        return sorted(ids, reverse=True)

    def _insert(self, posts: Sequence[tuple[int, int]], route: str) -> None:
        columns: dict[str, object] = {
            "photo_url": "https://img.example/1.jpg",
            "description": "Sunset",
            "route": route,
            "policy_version": 1,
            "pushed_at": now() if route == "push" else None,
        }
        rows = [{"id": post_id, "author_id": author, **columns} for post_id, author in posts]
        with self.stores.sql.writing() as connection:
            connection.execute(sa.insert(Post), rows)
