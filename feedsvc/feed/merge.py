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

    from feedsvc.store.near_cache.recent_posts import RecentPosts
    from feedsvc.store.near_cache.snapshot import CachedList
    from feedsvc.store.redis.work import Stopwatch

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
        found, lowest = set[int](), self.horizon + 1
        if self.cached:
            found, lowest = self._in_cached(position, count, lowest)
        for ids in self.others:
            found |= _between(ids, lowest, position, count)
        return sorted(found, reverse=True)[:count]

    def above(self, position: int, count: int | None = None) -> list[int]:
        """Return the lowest `count` ids above a position, ascending. `count` None means all ids."""
        position = max(position, self.horizon)
        found = self._in_cached_above(position, count) if self.cached else set()
        for ids in self.others:
            found |= _above(ids, position, count)
        return sorted(found)[:count]

    def _in_cached(self, position: int, count: int, lowest: int) -> tuple[set[int], int]:
        """Return ids that include the highest `count` ids of the cached lists, from `lowest` on.

        Also return a lower bound of these highest `count` ids.
        """
        max_scan = _SCAN_PER_LIST * len(self.cached)
        recent = self.recent.below(position, count, self.authors, max_scan)
        if recent is None:  # the scan found too few posts
            return self._in_lists(position, count, lowest)
        lowest = max(lowest, recent[-1])
        return {post_id for post_id in recent if post_id >= lowest}, lowest

    def _in_lists(self, position: int, count: int, lowest: int) -> tuple[set[int], int]:
        """See `_in_cached`. Reads the lists."""
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

    def _in_cached_above(self, position: int, count: int | None) -> set[int]:
        """Return ids that include the lowest `count` ids of the cached lists above a position."""
        recent = self.recent.above(position, self.authors)
        if recent is not None:
            return set(recent)
        found: set[int] = set()
        for each in self.cached:
            if each.top > position:
                found |= _above(each.ids, position, count)
        return found


@dataclass(frozen=True)
class TimedMerged(Merged):
    """`Merged` that adds the processor time of merging cached lists to `watch`."""

    watch: Stopwatch

    def _in_cached(self, position: int, count: int, lowest: int) -> tuple[set[int], int]:
        with self.watch:
            return super()._in_cached(position, count, lowest)

    def _in_cached_above(self, position: int, count: int | None) -> set[int]:
        with self.watch:
            return super()._in_cached_above(position, count)


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


def _above(ids: Sequence[int], position: int, count: int | None) -> set[int]:
    """Return at least the lowest `count` ids above a position, or all ids."""
    wanted = len(ids) if count is None else count
    return _distinct(ids, bisect_right(ids, position), len(ids), wanted, from_end=False)


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
