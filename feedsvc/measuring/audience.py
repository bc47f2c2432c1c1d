"""Whom a calibration reads as: viewers with full feeds who follow no celebrity, one with few posts, one with many, or many with one each.

Posts of a day are spread over the home lists and the celebrity lists, so that pages have both. The process holds many lists more, among
which these lie: that of its memory which a read looks at is in no cache of the processor, and of the latest posts few are its own.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from itertools import chain, count
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.feed import reader
from feedsvc.posts import ids
from feedsvc.store.redis import delivery, keys, recent
from feedsvc.store.redis.known import held
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Post
from feedsvc.threshold.costs import PAGE_POSTS
from feedsvc.views import celebrity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from feedsvc.store import Stores

_FIRST = 9_007_199_254_780_000
# Authors of whom nothing is there but a copy of a list have ids that are so much lower.
_BELOW = 100_000
# Of each kind, who read in turn. Each follows celebrities of its own: no read finds in the processor's caches what the one before it left.
VIEWERS = 200
# Posts of the day on a short list and on a long one, which has as many as a page; and on a home list.
SHORT, LONG, _PUSHED = 5, PAGE_POSTS, 40
# Celebrities of a viewer of many. Each has one post of the day, so that the lists have as many together as one long list.
LISTS = LONG
# Lists besides that get new posts.
_OTHERS = 10
_AT_ONCE = 100
_HOUR_MS = 3_600_000


@dataclass
class Audience:
    """Viewers, by what their reads are called; celebrities, each with the viewer it belongs to. All ids are above those of accounts."""

    stores: Stores
    # So many lists more the process holds.
    held: int
    viewers: dict[str, list[int]] = field(init=False)
    others: list[int] = field(init=False)
    _followed: dict[str, dict[int, list[int]]] = field(init=False)
    # Who is pushed to all viewers.
    _pushed: int = _FIRST
    _old: Iterator[int] = field(default_factory=lambda: count(2))
    _drawn: Iterator[int] = field(default_factory=count)
    _source: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 -- lengths and times

    def __post_init__(self) -> None:
        """Draw up who there is."""
        account = count(_FIRST + 1)
        kinds = {"read": 0, "read a list": 1, "read a long list": 1, "read lists": LISTS}
        self.viewers = {kind: [next(account) for _ in range(VIEWERS)] for kind in kinds}
        self._followed = {
            kind: {viewer: [next(account) for _ in range(lists)] for viewer in self.viewers[kind]} for kind, lists in kinds.items()
        }
        self.others = [next(account) for _ in range(_OTHERS)]

    def everybody(self) -> list[int]:
        """All viewers."""
        return list(chain.from_iterable(self.viewers.values()))

    def follows(self) -> Iterator[tuple[int, int]]:
        """Follower and followee."""
        yield from ((viewer, self._pushed) for viewer in self.everybody())
        yield from ((viewer, author) for of in self._followed.values() for viewer, authors in of.items() for author in authors)
        yield from ((author, self._pushed) for author in self.others)

    def build(self) -> None:
        """Posts, celebrity lists and home lists, of accounts that are there."""
        today = int(time.time() * 1000) - _HOUR_MS
        day = range(today - 24 * _HOUR_MS, today)
        # Each has posts of its own: a page without celebrities is as far from the processor's caches as one with many.
        pushed = {viewer: self._posts([self._pushed], _PUSHED, day, "push")[self._pushed] for viewer in self.everybody()}
        lists = self._posts(self.others, SHORT, day)
        for kind, each in {"read a list": SHORT, "read a long list": LONG, "read lists": 1}.items():
            lists |= self._posts([*chain.from_iterable(self._followed[kind].values())], each, day)
        self._fill({keys.celebrity_posts(author): posts for author, posts in lists.items()})
        older = range(ids.lowest_of(day[0]) - 1, 1, -1)
        feeds = {viewer: [*posts, *older[: 2 * self.stores.limits.feed_cap]][: self.length()] for viewer, posts in pushed.items()}
        self._fill({self.stores.keys.homefeed(viewer): posts for viewer, posts in feeds.items()})
        self._hold(lists | {author: self._newest_first(SHORT, day) for author in range(_FIRST - _BELOW - self.held, _FIRST - _BELOW)})
        for viewer in self.everybody():
            reader.home_page(self.stores, viewer, None, 20)

    def _hold(self, lists: dict[int, list[int]]) -> None:
        """Give the process copies of these lists, made in any order; and Redis the set of authors that have one there."""
        copies, authors = self.stores.copies, list(lists)
        self._source.shuffle(authors)
        celebrity.reload(self.stores.without_copies())
        known = copies.reload(*recent.latest(self.stores.redis), authors)
        copies.hold(known, {author: held(FloorList(lists[author], 1)) for author in authors})

    def put_old(self) -> None:
        """A post that no page shows, on a list that none of these viewers merges."""
        post_id = next(self._old)
        author = self.others[post_id % len(self.others)]
        self._insert([(post_id, author)], "pull")
        celebrity.put(self.stores, author, post_id)

    def length(self) -> int:
        """How long a feed is after a long run: somewhere between two trims."""
        limits = self.stores.limits
        shortest, lengths = delivery.trim_lengths(limits)
        return self._source.randint(limits.feed_cap, shortest + self._source.randrange(lengths))

    def _posts(self, authors: Sequence[int], each: int, day: range, route: str = "pull") -> dict[int, list[int]]:
        """So many posts of each, at any time of the day; by author, newest first."""
        made = {author: self._newest_first(each, day) for author in authors}
        self._insert([(post_id, author) for author, posts in made.items() for post_id in posts], route)
        return made

    def _newest_first(self, posts: int, day: range) -> list[int]:
        return sorted((ids.make(self._source.choice(day), next(self._drawn)) for _ in range(posts)), reverse=True)

    def _insert(self, posts: Sequence[tuple[int, int]], route: str) -> None:
        about: dict[str, object] = {"photo_url": "https://img.example/1.jpg", "description": "Sunset", "route": route, "policy_version": 1}
        about["pushed_at"] = now() if route == "push" else None
        with self.stores.sql.writing() as connection:
            connection.execute(sa.insert(Post), [{"id": post_id, "author_id": author, **about} for post_id, author in posts])

    def _fill(self, lists: Mapping[str, Sequence[int]]) -> None:
        pipe = self.stores.redis.pipeline(transaction=False)
        for key, post_ids in lists.items():
            pipe.rpush(key, *post_ids, "f1")
            if len(pipe) >= _AT_ONCE:
                pipe.execute()
        pipe.execute()
