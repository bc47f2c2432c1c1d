"""Post ids: ordered by time and small enough for a double.

An id holds 41 bits of milliseconds since the epoch and 12 bits that differ within a millisecond. It
stays below 2^53, so it is exact as a number in Lua and JavaScript and as a score in Redis.

An id is drawn from the clock of the database, and is always above the highest id of any post. So
a clock that is set back does not change the order of posts. `store/sql/highest_id.py` reads the
clock and the highest id.
"""

from __future__ import annotations

import itertools
import secrets

from feedsvc.forks import call_in_child

# 2024-01-01T00:00:00Z, in milliseconds since 1970.
EPOCH_MS = 1_704_067_200_000
_BITS_BELOW_MS = 12
_NUMBERS = (1 << _BITS_BELOW_MS) - 1


class _Sequence:
    """The low bits of the ids that this process draws. A forked process starts at another number.

    The numbers ascend, and begin again at 0 after 4,095. If two processes draw the same id, the
    insert of the second process finds the id taken, and the upload draws again.
    """

    def __init__(self) -> None:
        self._start()
        call_in_child(self._start)

    def _start(self) -> None:
        self._numbers = itertools.count(secrets.randbelow(_NUMBERS))

    def next(self) -> int:
        return next(self._numbers)


_sequence = _Sequence()


def draw(ms_since_1970: int, highest: int) -> int:
    """Return an id above the highest id, with the next number of this process.

    The millisecond of the id is the later one of two: the clock's, and the highest id's. If the
    result is not above the highest id, it moves to the next millisecond. Another process may have
    taken the id already, so the caller has to check.
    """
    drawn = make(max(ms_since_1970, ms_of(highest)), _sequence.next())
    return drawn if drawn > highest else drawn + (1 << _BITS_BELOW_MS)


def make(ms_since_1970: int, number: int) -> int:
    """Return the id that has this millisecond and the low 12 bits of `number`."""
    return (ms_since_1970 - EPOCH_MS) << _BITS_BELOW_MS | number & _NUMBERS


def lowest_of(ms_since_1970: int) -> int:
    """Return the lowest id of a millisecond. Posts made before it have lower ids."""
    return max(0, make(ms_since_1970, 0))


def ms_of(post_id: int) -> int:
    """Return the time of a post in milliseconds since 1970."""
    return (post_id >> _BITS_BELOW_MS) + EPOCH_MS


def seconds_of(post_id: int) -> float:
    """Return the time of a post in seconds since 1970."""
    return ms_of(post_id) / 1000
