"""The index of the newest posts of all cached lists. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

# The largest index has 4,096 posts, each with its author.
_MOST_POSTS = 4_096
_BYTES_A_POST = 16
# The index takes at most a sixteenth of the near cache.
_SHARE = 16
# Up to this many new posts are inserted one by one; more are sorted together with the others.
_FEW = 8
# To choose the floor of the recent posts, look at the newest 64 posts of each list.
_OF_EACH = 64


class RecentPosts(NamedTuple):
    """The posts of all cached lists that are above `floor`, ascending. Immutable.

    Posts of other authors may be among them. `authors` has the author of each id. A first page
    scans these posts instead of every list. If most of the newest posts are by followees, that
    takes about as many steps as the page has posts (docs/decisions/0007).

    An index with more than `most` posts is cut to its newest half, and its floor rises. The floor
    never falls, also if lists are evicted, because the posts that were cut do not come back.
    """

    most: int
    ids: array[int] = array("q")
    authors: array[int] = array("q")
    floor: int = 0

    @classmethod
    def within(cls, budget: int) -> RecentPosts:
        """Return an empty index for a near cache of `budget` bytes."""
        return cls(min(_MOST_POSTS, budget // _SHARE // _BYTES_A_POST))

    @property
    def full_bytes(self) -> int:
        """The bytes that the index takes when it is full."""
        return self.most * _BYTES_A_POST

    def below(
        self, position: int, count: int, authors: Collection[int], max_scan: int
    ) -> list[int] | None:
        """Return the highest `count` posts of the authors below a position, descending.

        Return None if the newest `max_scan` entries below the position have fewer than `count`.
        """
        found: list[int] = []
        end = bisect_left(self.ids, position)
        for at in range(end - 1, max(-1, end - 1 - max_scan), -1):
            if self.authors[at] in authors:
                found.append(self.ids[at])
                if len(found) == count:
                    return found
        return None

    def above(self, position: int, authors: Collection[int]) -> list[int] | None:
        """Return all posts of the authors above a position, ascending.

        Return None if some posts may be missing.
        """
        if position < self.floor:
            return None
        start = bisect_left(self.ids, position + 1)
        return [self.ids[at] for at in range(start, len(self.ids)) if self.authors[at] in authors]

    def with_post(self, post_id: int, author: int) -> RecentPosts:
        """Return the recent posts with one more post."""
        if post_id <= self.floor or self._has(post_id):
            return self
        at = bisect_left(self.ids, post_id)
        ids, authors = self.ids[:], self.authors[:]
        ids.insert(at, post_id)
        authors.insert(at, author)
        return self._cut(ids, authors, self.floor)

    def with_lists(self, lists: Mapping[int, Sequence[int]]) -> RecentPosts:
        """Return the recent posts with the posts of more lists: author -> ids, ascending."""
        newest = sorted(chain.from_iterable(ids[-_OF_EACH:] for ids in lists.values()))
        floor = max(self.floor, newest[-self.most] if len(newest) >= self.most > 0 else 0)
        new = [
            (post_id, author)
            for author, ids in lists.items()
            for post_id in ids[bisect_left(ids, floor + 1) :]
            if not self._has(post_id)
        ]
        if floor == self.floor and len(new) <= _FEW:
            recent = self
            for post in new:
                recent = recent.with_post(*post)
            return recent
        old = (post for post in zip(self.ids, self.authors, strict=True) if post[0] > floor)
        posts = sorted([*new, *old])
        return self._cut(
            array("q", (post_id for post_id, _ in posts)),
            array("q", (author for _, author in posts)),
            floor,
        )

    def _has(self, post_id: int) -> bool:
        at = bisect_left(self.ids, post_id)
        return at < len(self.ids) and self.ids[at] == post_id

    def _cut(self, ids: array[int], authors: array[int], floor: int) -> RecentPosts:
        if len(ids) <= self.most:
            return RecentPosts(self.most, ids, authors, floor)
        first = len(ids) - self.most // 2
        return RecentPosts(self.most, ids[first:], authors[first:], ids[first - 1])
