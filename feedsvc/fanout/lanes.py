"""Lanes: a large account's fan-out is split into ranges of follower ids, each a chain of its own, which workers share. Pure.

One chain leaves the store idle between its links; with lanes another one's slices run meanwhile. The bounds are drawn once, by
the first link, and kept on the fan-out's row: a lane is where its cursor is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from feedsvc.store.redis.delivery import END, START, WHOLE, Lane

if TYPE_CHECKING:
    from collections.abc import Sequence

# A lane is worth its own progress key and last look from two links on; more lanes than workers only keep more cursors.
BATCHES_A_LANE = 2
MOST = 8


def count(followers: int, batch: int) -> int:
    """How many lanes a fan-out to so many followers has, in batches of this size."""
    return max(1, min(MOST, followers // (BATCHES_A_LANE * batch)))


def between(bounds: Sequence[int]) -> list[Lane]:
    """The lanes between these follower ids, ascending, each of which is the last of its lane; the last lane has no bound."""
    if not bounds:
        return [WHOLE]
    starts = (START, *map(str, bounds))
    return [
        Lane(number, start, last)
        for number, (start, last) in enumerate(zip(starts, (*bounds, None), strict=True))
    ]


def at(bounds: Sequence[int], cursor: str) -> Lane:
    """The lane that goes on from a cursor."""
    assert cursor != END, "a lane that is at its end goes on nowhere"
    return between(bounds)[bisect_right(bounds, int(cursor))]


def carrying(bounds: Sequence[int], follower: int) -> Lane:
    """The lane that delivers to a follower."""
    return between(bounds)[bisect_left(bounds, follower)]
