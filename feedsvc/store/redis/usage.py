"""What all processes do, minute by minute: the seconds of feed pages, the celebrity lists merged for them, processor time.

A process counts by itself, and adds what it counted to the minute's hash once a second, in the round trip of a read; so it costs
no trip, and a process that dies takes a second's figures with it. Seconds are counted in buckets, each 19 % wider than the last.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.store.redis.keys import figures_of
from feedsvc.store.redis.round_trip import RoundTrip

if TYPE_CHECKING:
    import datetime as dt

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer

# A little longer than the day over which a version of the threshold is measured.
_TTL_SECONDS = 26 * 3_600
_BETWEEN_SECONDS = 1.0

_LOWEST_SECONDS = 0.000_1
_BUCKETS_PER_DOUBLING = 4
_LAST_BUCKET = 80  # 100 seconds and more

_LISTS = "lists"
_PROCESSOR_MS = "processor-ms"


@dataclass(frozen=True)
class Pages:
    """Pages served in a window; percentiles, up to 19 % too high, and means are None if there were none.

    `processor_seconds`: of the processes that serve feeds and run tasks, not of the stores; None if nobody has told.
    """

    pages: int
    lists_per_read: float | None
    p50_seconds: float | None
    p99_seconds: float | None
    processor_seconds: float | None


class UsageCounter:
    """What one process has counted and not handed over yet. Threads share it."""

    def __init__(self) -> None:
        """Nothing counted."""
        self._lock = threading.Lock()
        self._counted: Counter[str] = Counter()
        self._handed_over_at = time.monotonic()
        self._processor_ms = _processor_ms()

    def note(self, seconds: float, lists: int) -> None:
        """Count a page that took so long and merged so many celebrity lists."""
        with self._lock:
            self._counted[str(bucket(seconds))] += 1
            self._counted[_LISTS] += lists

    def add(self, trip: RoundTrip) -> None:
        """Add what was counted to the minute's hash, if a second has passed since the last time. The answers say nothing."""
        if time.monotonic() - self._handed_over_at >= _BETWEEN_SECONDS:
            self._add(trip)

    def hand_over(self, redis: Redis) -> None:
        """The same in a round trip of its own: for a process that serves no feeds."""
        trip = RoundTrip(redis)
        self.add(trip)
        trip.run()

    def _add(self, trip: RoundTrip) -> None:
        with self._lock:
            counted, self._counted = self._counted, Counter()
            before, self._processor_ms = self._processor_ms, _processor_ms()
            counted[_PROCESSOR_MS] = self._processor_ms - before
            self._handed_over_at = time.monotonic()
        key = figures_of(int(time.time()) // 60)
        for field, count in counted.items():
            trip.ask("HINCRBY", key, field, count)
        trip.ask("EXPIRE", key, _TTL_SECONDS)


def between(redis: Redis, since: dt.datetime, until: dt.datetime) -> Pages:
    """The pages of the minutes that begin in this window, at most a day and a bit; in one round trip."""
    first, end = (math.ceil(moment.timestamp() / 60) for moment in (since, until))
    trip = RoundTrip(redis)
    answers: list[Answer[dict[bytes, bytes]]] = [
        trip.ask("HGETALL", figures_of(minute))
        for minute in range(max(first, end - _TTL_SECONDS // 60), end)
    ]
    trip.run()
    counted: Counter[str] = Counter()
    for answer in answers:
        counted.update({field.decode(): int(count) for field, count in answer.value.items()})
    return _summed(counted)


def bucket(seconds: float) -> int:
    """The number of the bucket of so many seconds."""
    if seconds <= _LOWEST_SECONDS:
        return 0
    return min(
        _LAST_BUCKET, math.ceil(_BUCKETS_PER_DOUBLING * math.log2(seconds / _LOWEST_SECONDS))
    )


def upper_bound(number: int) -> float:
    """The most seconds in this bucket."""
    return _LOWEST_SECONDS * math.exp2(number / _BUCKETS_PER_DOUBLING)


def _summed(counted: Counter[str]) -> Pages:
    processor_seconds = counted[_PROCESSOR_MS] / 1000 if _PROCESSOR_MS in counted else None
    buckets = {int(field): count for field, count in counted.items() if field.isdigit()}
    pages = sum(buckets.values())
    if not pages:
        return Pages(0, None, None, None, processor_seconds)
    p50, p99 = (_percentile(buckets, pages, per_cent) for per_cent in (50, 99))
    return Pages(pages, counted[_LISTS] / pages, p50, p99, processor_seconds)


def _percentile(buckets: dict[int, int], pages: int, per_cent: int) -> float:
    so_far = 0
    for number in sorted(buckets):
        so_far += buckets[number]
        if so_far * 100 >= pages * per_cent:
            return upper_bound(number)
    raise AssertionError("all pages are in buckets")


def _processor_ms() -> int:
    return round(time.process_time() * 1000)
