"""The latest posts of all celebrity lists that a process holds. Pure.

A first page looks at some thirty of them, not at every list.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

# So many are kept, and up to twice as many before the lower half is cut off.
_POSTS = 2_048
# More than so many posts at once are sorted in, fewer are put in their places.
_FEW = 8
# How many of each list are looked at to find how far down the latest reach.
_OF_EACH = 64


class RecentPosts(NamedTuple):
    """All posts above `floor` that any of the lists holds, perhaps with others; ascending, each beside its author. It never changes."""

    ids: array[int] = array("q")
    authors: array[int] = array("q")
    floor: int = 0

    def below(
        self, position: int, count: int, authors: Collection[int], steps: int
    ) -> list[int] | None:
        """The highest `count` posts of these authors below a position, descending; None if they do not show in so many steps."""
        found: list[int] = []
        end = bisect_left(self.ids, position)
        for at in range(end - 1, max(-1, end - 1 - steps), -1):
            if self.authors[at] in authors:
                found.append(self.ids[at])
                if len(found) == count:
                    return found
        return None

    def above(self, position: int, authors: Collection[int]) -> list[int] | None:
        """All posts of these authors above a position, ascending; None if some may be missing."""
        if position < self.floor:
            return None
        start = bisect_left(self.ids, position + 1)
        return [self.ids[at] for at in range(start, len(self.ids)) if self.authors[at] in authors]

    def with_post(self, post_id: int, author: int) -> RecentPosts:
        """With one more."""
        at = bisect_left(self.ids, post_id)
        if post_id <= self.floor or (at < len(self.ids) and self.ids[at] == post_id):
            return self
        ids, authors = self.ids[:], self.authors[:]
        ids.insert(at, post_id)
        authors.insert(at, author)
        return _cut(ids, authors, self.floor)

    def with_lists(self, lists: Mapping[int, Sequence[int]]) -> RecentPosts:
        """With the posts of more lists: author -> ids, ascending."""
        newest = sorted(chain.from_iterable(ids[-_OF_EACH:] for ids in lists.values()))
        floor = max(self.floor, newest[-2 * _POSTS] if len(newest) >= 2 * _POSTS else 0)
        new = [
            (post_id, author)
            for author, ids in lists.items()
            for post_id in ids[bisect_left(ids, floor + 1) :]
        ]
        if len(new) <= _FEW:
            latest = self
            for post in new:
                latest = latest.with_post(*post)
            return latest
        posts = sorted(
            {
                *new,
                *(
                    (post_id, author)
                    for post_id, author in zip(self.ids, self.authors, strict=True)
                    if post_id > floor
                ),
            }
        )
        return _cut(
            array("q", (post_id for post_id, _ in posts)),
            array("q", (author for _, author in posts)),
            floor,
        )


def _cut(ids: array[int], authors: array[int], floor: int) -> RecentPosts:
    if len(ids) <= 2 * _POSTS:
        return RecentPosts(ids, authors, floor)
    return RecentPosts(ids[-_POSTS:], authors[-_POSTS:], ids[-_POSTS - 1])
