"""Divide the fan-out of a large account into lanes, which are ranges of follower ids. Pure.

Each lane has a chain of its own, so that workers share a large fan-out. With a single chain, Redis
is idle between two links, during the queue, a query and a write (docs/decisions/0006). The first
link chooses the bounds and stores them on the fan-out's row. They never change, so `at` finds the
lane of a cursor from the cursor alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from feedsvc.store.redis.delivery import END, START, WHOLE, Lane

if TYPE_CHECKING:
    from collections.abc import Sequence

# The fewest batches in a lane, so only a fan-out of four batches or more is divided
# (docs/decisions/0006). Each lane costs a progress key, and one more cursor to read at the end.
BATCHES_A_LANE = 2
# The most lanes of a fan-out (docs/decisions/0006). More lanes than workers bring no speed, and
# each lane adds a cursor.
MOST = 8


def count(followers: int, batch: int) -> int:
    """Return the number of lanes of a fan-out to `followers` followers, in batches of `batch`."""
    return max(1, min(MOST, followers // (BATCHES_A_LANE * batch)))


def between(bounds: Sequence[int]) -> list[Lane]:
    """Return the lanes that the bounds separate: one more than there are bounds.

    Bounds are follower ids in ascending order. Each is the last follower of its lane. The last lane
    has no bound.
    """
    if not bounds:
        return [WHOLE]
    starts = (START, *map(str, bounds))
    return [
        Lane(number, start, last)
        for number, (start, last) in enumerate(zip(starts, (*bounds, None), strict=True))
    ]


def at(bounds: Sequence[int], cursor: str) -> Lane:
    """Return the lane that contains the next follower after `cursor`."""
    assert cursor != END, "a lane that has reached its end does not go on"
    return between(bounds)[bisect_right(bounds, int(cursor))]


def carrying(bounds: Sequence[int], follower: int) -> Lane:
    """Return the lane that delivers to a follower."""
    return between(bounds)[bisect_left(bounds, follower)]
