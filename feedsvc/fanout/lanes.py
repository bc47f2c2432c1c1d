"""Lanes: the fan-out of a large account is split into ranges of follower ids. Pure.

Each lane is a chain of its own, so that workers share a large fan-out. A single chain leaves the
store idle between its links, while lanes keep it busy. The first link chooses the bounds once and
stores them on the fan-out's row. A cursor therefore says which lane it belongs to.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from feedsvc.store.redis.delivery import END, START, WHOLE, Lane

if TYPE_CHECKING:
    from collections.abc import Sequence

# From two links on, a lane is worth its own progress key and its check of the cursors at the end.
BATCHES_A_LANE = 2
# More lanes than workers only add cursors.
MOST = 8


def count(followers: int, batch: int) -> int:
    """Return the number of lanes of a fan-out to `followers` followers, in batches of `batch`."""
    return max(1, min(MOST, followers // (BATCHES_A_LANE * batch)))


def between(bounds: Sequence[int]) -> list[Lane]:
    """Return the lanes between ascending follower ids.

    Each id is the last follower of its lane. The last lane has no bound.
    """
    if not bounds:
        return [WHOLE]
    starts = (START, *map(str, bounds))
    return [
        Lane(number, start, last)
        for number, (start, last) in enumerate(zip(starts, (*bounds, None), strict=True))
    ]


def at(bounds: Sequence[int], cursor: str) -> Lane:
    """Return the lane that goes on from a cursor."""
    assert cursor != END, "a lane that has reached its end does not go on"
    return between(bounds)[bisect_right(bounds, int(cursor))]


def carrying(bounds: Sequence[int], follower: int) -> Lane:
    """Return the lane that delivers to a follower."""
    return between(bounds)[bisect_left(bounds, follower)]
