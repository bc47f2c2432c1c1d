"""Merge the sources of a feed. Pure.

Each source is complete above its floor. Above the highest floor, the horizon, all sources are
complete. At and below the horizon SQL answers. A post that is being moved is in two sources, so
repeats are dropped.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from feedsvc.store.near_cache.snapshot import CachedList, RecentPosts

# Scan at most 8 recent posts for each cached list. Beyond that, reading the lists should cost less
# (an estimate, not a measurement).
_SCAN_PER_LIST = 8


@dataclass(frozen=True)
class Merged:
    """The posts above the horizon in all sources.

    A first page usually scans `recent` only. If the scan finds too few posts, the lists are read,
    but only the lists that can have a post of the page.

    `cached`: copies of celebrity lists.
    `recent`: all posts of `cached` above `recent.floor`, mixed with posts of other authors.
    `authors`: the authors whose posts count.
    `others`: the other sources, ascending, perhaps with repeats.
    """

    cached: Sequence[CachedList]
    others: Sequence[Sequence[int]]
    horizon: int
    recent: RecentPosts
    authors: AbstractSet[int]

    def below(self, position: int, count: int) -> list[int]:
        """Return the highest `count` ids below a position, descending."""
        # An empty list: nothing is cached. None: the scan found too few posts, so read the lists.
        recent: list[int] | None = []
        if self.cached:
            max_scan = _SCAN_PER_LIST * len(self.cached)
            recent = self.recent.below(position, count, self.authors, max_scan)
        lowest = self.horizon + 1
        if recent is None:
            found, lowest = self._in_lists(position, count, lowest)
        else:
            lowest = max(lowest, recent[-1]) if recent else lowest
            found = {post_id for post_id in recent if post_id >= lowest}
        for ids in self.others:
            found |= _between(ids, lowest, position, count)
        return sorted(found, reverse=True)[:count]

    def above(self, position: int, count: int | None = None) -> list[int]:
        """Return the lowest `count` ids above a position, ascending. `count` None means all ids."""
        position = max(position, self.horizon)
        recent = self.recent.above(position, self.authors) if self.cached else []
        found: set[int] = set(recent or ())
        lists = [each.ids for each in self.cached if each.top > position] if recent is None else []
        for ids in (*lists, *self.others):
            start = bisect_right(ids, position)
            wanted = len(ids) if count is None else count
            found |= _distinct(ids, start, len(ids), wanted, from_end=False)
        return sorted(found)[:count]

    def _in_lists(self, position: int, count: int, lowest: int) -> tuple[set[int], int]:
        """Return ids that include the highest `count` ids of the cached lists.

        Also return a lower bound of these highest `count` ids.
        """
        tops = [_top_below(each, position) for each in self.cached]
        if len(tops) > count:
            # No two lists share a post, so at least `count` posts are at or above the `count`-th
            # highest top. A list with a lower top has none of the highest `count` ids.
            lowest = max(lowest, sorted(tops)[-count])
        found: set[int] = set()
        for each, top in zip(self.cached, tops, strict=True):
            if top >= lowest:
                found |= _between(each.ids, lowest, position, count)
        return found, lowest


def _top_below(each: CachedList, position: int) -> int:
    """Return the highest id of a list that is below a position, or 0."""
    if each.top < position:
        return each.top
    end = bisect_left(each.ids, position)
    return each.ids[end - 1] if end else 0


def _between(ids: Sequence[int], lowest: int, position: int, count: int) -> set[int]:
    """Return at least the highest `count` ids from `lowest` to below `position`, or all ids."""
    end = bisect_left(ids, position)
    return _distinct(ids, bisect_left(ids, lowest, 0, end), end, count, from_end=True)


def _distinct(ids: Sequence[int], start: int, end: int, count: int, *, from_end: bool) -> set[int]:
    """Return at least `count` distinct ids from one end of `ids[start:end]`, or all of them.

    A home list may have an id twice.
    """
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
