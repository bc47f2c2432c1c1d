"""How many celebrity lists a process's near cache holds, and how many lists reads miss. Pure.

A full near cache keeps the lists that are read most. The share of lists that reads miss is the
approximation of Che, Tung and Wang for a cache that evicts the list read longest ago
(*Hierarchical Web Caching Systems*, IEEE JSAC 2002). A list is in the cache if it was read within
the characteristic time. In that time, reads use as many different lists as fill the cache. All
processes read the same mix. So their number changes the time, but not the share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from feedsvc.store.near_cache.copies import share_of_lists
from feedsvc.store.near_cache.recent_posts import RecentPosts
from feedsvc.store.near_cache.sizes import authors_bytes, list_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STEPS = 40
# Lists are taken together if their reads differ by less than half an octave.
_SIZES_PER_OCTAVE = 2


class Lists(NamedTuple):
    """Similar celebrity lists: how many, the entries of each, and how often each is read.

    `reads` may have any unit of time.
    """

    number: float
    entries: float
    reads: float

    @property
    def bytes_each(self) -> int:
        """Return the bytes of one list."""
        return list_bytes(round(self.entries))


class CachedLists(NamedTuple):
    """The lists that a process holds, and the share of merged lists that it has to fetch."""

    lists: float
    missed_share: float
    fits: bool


def room_for_lists(budget: int, lists: float) -> int:
    """Return the bytes that the lists may take, of a near cache of `budget` bytes.

    The rest is for the authors of the lists, the index of recent posts, and the posts.
    """
    others = authors_bytes(round(lists)) + RecentPosts.within(budget).full_bytes
    return share_of_lists(max(0, budget - others))


def cached_lists(lists: Iterable[Lists], budget: int) -> CachedLists:
    """Return how many of some lists a process holds, with a near cache of `budget` bytes."""
    read = _alike(each for each in lists if each.reads > 0 and each.number > 0)
    number = sum(each.number for each in read)
    room = room_for_lists(budget, number)
    if sum(each.number * each.bytes_each for each in read) <= room:
        return CachedLists(number, 0.0, fits=True)
    time = _characteristic_time(read, room) if room else 0.0
    absent = [each.number * math.exp(-each.reads * time) for each in read]
    missed = sum(each.reads * lists for each, lists in zip(read, absent, strict=True))
    reads = sum(each.number * each.reads for each in read)
    return CachedLists(number - sum(absent), missed / reads, fits=False)


def _alike(lists: Iterable[Lists]) -> list[Lists]:
    """Put lists together that are read about equally often."""
    sums: dict[int, tuple[float, float, float]] = defaultdict(lambda: (0.0, 0.0, 0.0))
    for each in lists:
        of_size = round(_SIZES_PER_OCTAVE * math.log2(each.reads))
        number, entries, reads = sums[of_size]
        sums[of_size] = (
            number + each.number,
            entries + each.number * each.entries,
            reads + each.number * each.reads,
        )
    return [
        Lists(number, entries / number, reads / number) for number, entries, reads in sums.values()
    ]


def _characteristic_time(lists: Sequence[Lists], room: float) -> float:
    """Return the time in which distinct lists of `room` bytes are read, by bisection."""

    def taken(time: float) -> float:
        return sum(
            each.number * each.bytes_each * -math.expm1(-each.reads * time) for each in lists
        )

    # Reads differ by many orders of magnitude, so the search is over the logarithm of the time.
    low = math.log(1e-9 / max(each.reads for each in lists))
    high = math.log(1e3 / min(each.reads for each in lists))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if taken(math.exp(middle)) < room:
            low = middle
        else:
            high = middle
    return math.exp(low)
