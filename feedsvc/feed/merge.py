"""Merging the sources of a feed. Pure.

Each source is complete above its floor. Above the highest floor, the horizon, all of them are; at and below it SQL answers for
everything. A post that is being moved is in two sources: repeats are dropped.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from feedsvc.store.near_cache.recent_posts import RecentPosts
    from feedsvc.store.near_cache.snapshot import CachedList

# For each list that is held, how many of the latest posts may be looked through before it is cheaper to look at the lists.
_STEPS = 8


@dataclass(frozen=True)
class Merged:
    """What is above the horizon in any of these sources, all ascending, perhaps with repeats. Five hundred are never merged whole.

    `held`: copies of celebrity lists, whose posts by `authors` above its floor are among `latest`. `others`: all else.
    """

    held: Sequence[CachedList]
    others: Sequence[Sequence[int]]
    horizon: int
    latest: RecentPosts
    authors: AbstractSet[int]

    def below(self, position: int, count: int) -> list[int]:
        """The highest `count` ids below a position, descending; fewer only if there are no more."""
        latest = (
            self.latest.below(position, count, self.authors, _STEPS * len(self.held))
            if self.held
            else []
        )
        lowest = self.horizon + 1
        if latest is None:
            found, lowest = self._in_lists(position, count, lowest)
        else:
            lowest = max(lowest, latest[-1]) if latest else lowest
            found = {post_id for post_id in latest if post_id >= lowest}
        for ids in self.others:
            found |= _between(ids, lowest, position, count)
        return sorted(found, reverse=True)[:count]

    def above(self, position: int, count: int | None = None) -> list[int]:
        """The lowest `count` ids above a position, ascending; fewer only if there are no more. None: all."""
        position = max(position, self.horizon)
        latest = self.latest.above(position, self.authors) if self.held else []
        found: set[int] = set(latest or ())
        lists = [each.ids for each in self.held if each.top > position] if latest is None else []
        for ids in (*lists, *self.others):
            start = bisect_right(ids, position)
            found |= _different(
                ids, start, len(ids), len(ids) if count is None else count, from_end=False
            )
        return sorted(found)[:count]

    def _in_lists(self, position: int, count: int, lowest: int) -> tuple[set[int], int]:
        """What may be among the first `count`, and an id that no other of the first is below."""
        tops = [_top_below(each, position) for each in self.held]
        if len(tops) > count:
            # The lists have no post in common. So many are at or above this one: a list whose highest is lower has none among the first.
            lowest = max(lowest, sorted(tops)[-count])
        found: set[int] = set()
        for each, top in zip(self.held, tops, strict=True):
            if top >= lowest:
                found |= _between(each.ids, lowest, position, count)
        return found, lowest


def _top_below(each: CachedList, position: int) -> int:
    """The highest id of a list that is below a position; 0 for none."""
    if each.top < position:
        return each.top
    end = bisect_left(each.ids, position)
    return each.ids[end - 1] if end else 0


def _between(ids: Sequence[int], lowest: int, position: int, count: int) -> set[int]:
    """The highest `count` ids from `lowest` to below `position`."""
    end = bisect_left(ids, position)
    return _different(ids, bisect_left(ids, lowest, 0, end), end, count, from_end=True)


def _different(ids: Sequence[int], start: int, end: int, count: int, *, from_end: bool) -> set[int]:
    """So many different ids of this part, from its end or its start: a home list may hold an id twice."""
    wanted = count
    while True:
        found = set(
            ids[max(start, end - wanted) : end]
            if from_end
            else ids[start : min(end, start + wanted)]
        )
        if len(found) >= count or wanted >= end - start:
            return found
        wanted *= 2
