"""Whom a calibration reads as: viewers of no celebrity, of one with few posts, of one with many, or of many with one each.

The home lists hold all posts of the day, those on celebrity lists too: a process that sees the lists shows the same pages as one that sees
none. It holds many lists more, among which these lie: that of its memory which a read looks at is in no cache of the processor, and of
the latest posts few are its own. A third process holds few lists.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from itertools import chain, count, cycle, islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import post_ids
from feedsvc.cache import celebrity_lists
from feedsvc.feed import reader
from feedsvc.graph import follows
from feedsvc.planning.costs import PAGE_POSTS
from feedsvc.store.near_cache.snapshot import held
from feedsvc.store.redis import delivery, invalidation_log, keys
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from feedsvc.store import Stores

_FIRST = 9_007_199_254_780_000
# Authors of whom nothing is there but a copy of a list have ids that are so much lower.
_BELOW = 100_000
# Of each kind, who read in turn: no read finds in the processor's caches what the one before it left.
VIEWERS = 400
# Posts of the day on a short list and on a long one, which has as many as a page; and of an account that is pushed. All viewers but every
# fourth have a young feed, of three of those, which fills no page: so a page looks through its lists once more.
SHORT, LONG, _PUSHED, _YOUNG, _FULL = 5, PAGE_POSTS, 30, 3, 4
# Celebrities of a viewer of many, each with one post of the day. The more a read merges the less each costs; so many stand for all of them
# (docs/evidence/threshold.md). Who follows many follows others, too, who have no list.
LISTS, _WITHOUT_LIST = 12, 30
# The lists of a process that holds few.
FEW = 1_000
# What reads are called: with no list, a short one, a long one, many of the viewer's own, and many of the few.
NONE, ONE, ONE_LONG, MANY, AMONG_FEW = (
    "no list",
    "a list",
    "a long list",
    "lists",
    "lists among few",
)
_EACH = {ONE: SHORT, ONE_LONG: LONG, MANY: 1}
# Lists besides that get new posts.
_OTHERS = 10
_AT_ONCE = 100
_HOUR_MS = 3_600_000


@dataclass
class FixtureViewers:
    """Viewers, by what their reads are called; celebrities, each with the viewer it belongs to. All ids are above those of accounts."""

    # As a process has them that sees celebrities.
    stores: Stores
    # So many lists it holds besides those that are read.
    more: int
    # As processes have them that see no celebrity, and few.
    blind: Stores = field(init=False)
    among_few: Stores = field(init=False)
    viewers: dict[str, list[int]] = field(init=False)
    others: list[int] = field(init=False)
    # So many lists the process holds.
    held: int = 0
    _few: list[int] = field(init=False)
    _followed: dict[str, dict[int, list[int]]] = field(init=False)
    # Who is pushed to all viewers.
    _pushed: int = _FIRST
    _old: Iterator[int] = field(default_factory=lambda: count(2))
    _drawn: Iterator[int] = field(default_factory=count)
    _follows: Iterator[int] = field(default_factory=count)
    _source: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 -- lengths and times

    def __post_init__(self) -> None:
        """Draw up who there is."""
        self.blind, self.among_few = (
            self.stores.without_near_cache(),
            self.stores.without_near_cache(),
        )
        account = count(_FIRST + 1)
        own = {NONE: 0, ONE: 1, ONE_LONG: 1, MANY: LISTS, AMONG_FEW: 0}
        self.viewers = {kind: list(islice(account, VIEWERS)) for kind in own}
        self._followed = {
            kind: {viewer: list(islice(account, own[kind])) for viewer in each}
            for kind, each in self.viewers.items()
        }
        self._few = list(islice(account, FEW))
        self._followed[AMONG_FEW] = {
            viewer: self._source.sample(self._few, LISTS) for viewer in self.viewers[AMONG_FEW]
        }
        self.others = list(islice(account, _OTHERS))

    def everybody(self) -> list[int]:
        """All viewers."""
        return list(chain.from_iterable(self.viewers.values()))

    def turn(self, number: int, size: int) -> list[tuple[str, int]]:
        """So many viewers of each kind with lists, others with every number, and as many again without; in any order."""
        with_lists = [
            (kind, viewer)
            for kind in (ONE, ONE_LONG, MANY, AMONG_FEW)
            for viewer in self._some(kind, number, size)
        ]
        some = with_lists + [(NONE, viewer) for viewer in self._some(NONE, number, len(with_lists))]
        self._source.shuffle(some)
        return some

    def _some(self, kind: str, number: int, size: int) -> Iterator[int]:
        first = number * size % VIEWERS
        return islice(cycle(self.viewers[kind]), first, first + size)

    def seeing(self, kind: str) -> Stores:
        """The stores as the process has them that sees these viewers' celebrities."""
        return self.among_few if kind == AMONG_FEW else self.stores

    def follows(self) -> Iterator[tuple[int, int]]:
        """Follower and followee."""
        yield from ((viewer, self._pushed) for viewer in self.everybody())
        yield from (
            (viewer, author)
            for of in self._followed.values()
            for viewer, authors in of.items()
            for author in authors
        )
        yield from ((author, self._pushed) for author in [*self.others, *self._few])
        everybody = self.everybody()
        for viewer in self.viewers[MANY] + self.viewers[AMONG_FEW]:
            others = self._source.sample(everybody, min(_WITHOUT_LIST, len(everybody)))
            yield from ((viewer, other) for other in others if other != viewer)

    def build(self) -> None:
        """Posts, celebrity lists and home lists, of accounts that are there."""
        today = int(time.time() * 1000) - _HOUR_MS
        day = range(today - 24 * _HOUR_MS, today)
        lists = self._posts(self.others, SHORT, day)
        for kind, each in _EACH.items():
            lists |= self._posts([*chain.from_iterable(self._followed[kind].values())], each, day)
        few = self._posts(self._few, 1, day)
        self._fill(
            {keys.celebrity_posts(author): posts for author, posts in (lists | few).items()},
            floor=0,
        )
        self._fill_feeds(lists | few, day)
        lists |= {
            author: self._newest_first(SHORT, day)
            for author in range(_FIRST - _BELOW - self.more, _FIRST - _BELOW)
        }
        celebrity_lists.reload(
            self.stores.without_near_cache()
        )  # so Redis has the set of those with a list
        for process, some in (self.stores, lists), (self.among_few, few), (self.blind, {}):
            self._hold(process, some)
        self.held = len(lists)
        for kind, viewers in self.viewers.items():
            for viewer in viewers:
                reader.home_page(self.seeing(kind), viewer, None, 20)
                reader.home_page(self.blind, viewer, None, 20)

    def _fill_feeds(self, lists: Mapping[int, list[int]], day: range) -> None:
        """Home lists of the day's posts, those on these lists among them; the full ones with older ones, which are no posts."""
        pushed = self._posts([self._pushed], VIEWERS * _PUSHED, day, "push")[self._pushed]
        older = range(post_ids.lowest_of(day[0]) - 1, 1, -1)[: 2 * self.stores.limits.feed_cap]
        full, young = dict[str, list[int]](), dict[str, list[int]]()
        for followed in self._followed.values():
            for number, (viewer, authors) in enumerate(followed.items()):
                key, celebrities = (
                    self.stores.keys.homefeed(viewer),
                    chain.from_iterable(map(lists.__getitem__, authors)),
                )
                if number % _FULL:
                    young[key] = sorted(
                        [*pushed[number::VIEWERS][:_YOUNG], *celebrities], reverse=True
                    )
                else:
                    full[key] = [
                        *sorted([*pushed[number::VIEWERS], *celebrities], reverse=True),
                        *older,
                    ][: self.length()]
        self._fill(full, floor=1)
        self._fill(young, floor=0)

    def _hold(self, process: Stores, lists: Mapping[int, list[int]]) -> None:
        """Give this process copies of these lists, made in any order, and of no other."""
        authors = list(lists)
        self._source.shuffle(authors)
        known = process.near_cache.reload(*invalidation_log.latest(process.redis), authors)
        process.near_cache.hold(
            known, {author: held(FloorList(lists[author], 0)) for author in authors}
        )

    def follow(self) -> None:
        """One of the others follows one of the few more."""
        number = next(self._follows)
        follows.follow(
            self.stores,
            self.others[number % len(self.others)],
            self._few[number // len(self.others) % len(self._few)],
        )

    def put_old(self) -> None:
        """A post that no page shows, on a list that none of these viewers merges."""
        post_id = next(self._old)
        author = self.others[post_id % len(self.others)]
        self._insert([(post_id, author)], "pull")
        celebrity_lists.put(self.stores, author, post_id)

    def length(self) -> int:
        """How long a feed is after a long run: somewhere between two trims."""
        limits = self.stores.limits
        shortest, lengths = delivery.trim_lengths(limits)
        return self._source.randint(limits.feed_cap, shortest + self._source.randrange(lengths))

    def _posts(
        self, authors: Sequence[int], each: int, day: range, route: str = "pull"
    ) -> dict[int, list[int]]:
        """So many posts of each, at any time of the day; by author, newest first."""
        made = {author: self._newest_first(each, day) for author in authors}
        self._insert(
            [(post_id, author) for author, posts in made.items() for post_id in posts], route
        )
        return made

    def _newest_first(self, posts: int, day: range) -> list[int]:
        return sorted(
            (post_ids.make(self._source.choice(day), next(self._drawn)) for _ in range(posts)),
            reverse=True,
        )

    def _insert(self, posts: Sequence[tuple[int, int]], route: str) -> None:
        about: dict[str, object] = {
            "photo_url": "https://img.example/1.jpg",
            "description": "Sunset",
            "route": route,
            "policy_version": 1,
        }
        about["pushed_at"] = now() if route == "push" else None
        with self.stores.sql.writing() as connection:
            connection.execute(
                sa.insert(Post),
                [{"id": post_id, "author_id": author, **about} for post_id, author in posts],
            )

    def _fill(self, lists: Mapping[str, Sequence[int]], *, floor: int) -> None:
        pipe = self.stores.redis.pipeline(transaction=False)
        for key, ids in lists.items():
            pipe.rpush(key, *ids, f"f{floor}")
            if len(pipe) >= _AT_ONCE:
                pipe.execute()
        pipe.execute()
