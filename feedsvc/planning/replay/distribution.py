"""Mean and percentiles of what a replay counts and measures. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class Distribution:
    """A percentile is the least value that so many per cent of all do not exceed (nearest rank); all are 0 where there is no value."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


def of_values(values: Sequence[float]) -> Distribution:
    """The distribution of these values."""
    ascending = sorted(values)
    return _of(ascending, list(range(1, len(ascending) + 1)), sum(ascending))


def of_counts(counts: Mapping[_Number, int]) -> Distribution:
    """The distribution of values that occurred so many times each. `counts`: value -> times."""
    ascending = sorted(counts)
    return _of(
        ascending,
        list(accumulate(counts[value] for value in ascending)),
        sum(value * times for value, times in counts.items()),
    )


def _of(ascending: Sequence[float], upto: Sequence[int], total: float) -> Distribution:
    """`upto`: how many are no larger than the value at that place."""
    if not ascending:
        return Distribution(0, 0.0, 0, 0, 0, 0)
    count = upto[-1]
    p50, p90, p99, most = (
        ascending[bisect_left(upto, ceil(count * percent / 100))] for percent in (50, 90, 99, 100)
    )
    return Distribution(count, total / count, p50, p90, p99, most)
