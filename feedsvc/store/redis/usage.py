"""Count feed pages by minute, and the reads of a sample of viewers, for all processes.

`figures:<minute>` has the durations of feed pages, the celebrity lists merged for them, and
processor time. A process counts by itself and adds its counts to the hash once a second, in the
round trip of a read. So counting costs no trip. A process that dies, or a round trip that fails,
loses the counts since the last addition. Durations are counted in buckets, each 19 % wider than the
one before.

`reads:<day>` has the reads of a sixteenth of the viewers, the same viewers every day, chosen by a
hash of their id. This is enough to know the mix of readers. It takes about 4 MB a day for a million
viewers.

`figures:<minute>` also has the processor time of work by kind and size, see `work`.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
import zlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.forks import call_in_child
from feedsvc.formats import weighted_percentile
from feedsvc.store.redis import work
from feedsvc.store.redis.keys import processes_of, usage_of
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.redis.work import Piece

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from feedsvc.store import Stores
    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.keys import Role
    from feedsvc.store.redis.round_trip import Answer
    from feedsvc.store.redis.work import Kind, ReadClock, Work

# A little longer than the day over which a version of the threshold is measured.
_MINUTES_TTL_SECONDS = 26 * 3_600
_HAND_OVER_SECONDS = 1.0

_LOWEST_SECONDS = 0.000_1
_BUCKETS_PER_DOUBLING = 4
_LAST_BUCKET = 80  # longer than 88 s

# Processes are counted over this time. A process that is seldom used still counts.
_PERIOD_SECONDS = 600
_USUAL_PROCESSES = 2

_LISTS = "lists"
_PROCESSOR_MS = "processor-ms"

# One viewer of this many is in the sample whose reads are counted.
SAMPLE_ONE_IN = 16
READ_DAYS = 7
_DAY_SECONDS = 86_400
_READS_TTL_SECONDS = (READ_DAYS + 1) * _DAY_SECONDS
_SCAN_COUNT = 1_000


@dataclass(frozen=True)
class Pages:
    """The feed pages of a window.

    Percentiles and means are None without pages. A percentile is the upper bound of its bucket, at
    most 19 % too high. Above 105 s it is too low, because the last bucket has no upper bound.

    `processor_seconds`: the processor time of the processes that serve feeds and run tasks, without
    the stores. None if no process has counted any.
    """

    pages: int
    lists_per_read: float | None
    p50_seconds: float | None
    p99_seconds: float | None
    processor_seconds: float | None


@dataclass(frozen=True)
class Processes:
    """How many processes read feeds, and how many fan out."""

    reading: int
    working: int


@dataclass(frozen=True)
class Reads:
    """The reads of the viewers in the sample, and for how many seconds they have been counted."""

    by_viewer: Counter[int]
    seconds: float


class UsageCounter:
    """The counts that one process has not added to Redis yet. Threads share it."""

    def __init__(self) -> None:
        self._begin()
        call_in_child(self._begin)

    def _begin(self) -> None:
        """Begin without counts, also in a forked process: the parent hands over its own counts."""
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._work = work.Sums()
        self._handed_over_at = time.monotonic()
        self._processor_ms = _processor_ms()
        self._process = secrets.token_hex(4)

    def note(self, seconds: float, lists: int) -> None:
        """Count a page that took this many seconds and merged this many celebrity lists."""
        with self._lock:
            self._counts[str(bucket(seconds))] += 1
            self._counts[_LISTS] += lists

    def note_work(self, kind: Kind, seconds: float, size: int = 0, extra: int = 0) -> None:
        """Count a piece of work that took this many seconds of processor time."""
        with self._lock:
            self._work.add(kind, seconds, size, extra)

    def note_read(self, clock: ReadClock, lists: int, cached: int, fetched: int) -> None:
        """Count a timed page.

        It merged `lists` and had to fetch `fetched` of them. The process caches `cached` lists.
        """
        merging, fetching = clock.merging.seconds, clock.fetching.seconds
        self.note_work("read", clock.whole.seconds - merging - fetching)
        self.note_work("merge", merging, lists, cached)
        if fetched:
            self.note_work("fetch", fetching, fetched)

    @contextmanager
    def timed(self, kind: Kind) -> Iterator[Piece]:
        """Count the block as a piece of work, unless it raises."""
        piece, began = Piece(), time.thread_time()
        yield piece
        self.note_work(kind, time.thread_time() - began, piece.size, piece.extra)

    def add(self, trip: RoundTrip, role: Role = "readers") -> None:
        """Add the counts to the hash of this minute, if a second has passed since the last time.

        This also counts the process among those that read feeds, or those that fan out.
        """
        if time.monotonic() - self._handed_over_at < _HAND_OVER_SECONDS:
            return
        counts = self.take()
        key = usage_of(int(time.time()) // 60)
        for field, count in counts.items():
            trip.note("HINCRBY", key, field, count)
        trip.note("EXPIRE", key, _MINUTES_TTL_SECONDS)
        processes = processes_of(role, _period())
        trip.note("SADD", processes, self._process)
        trip.note("EXPIRE", processes, 2 * _PERIOD_SECONDS, "NX")

    def take(self) -> Counter[str]:
        """Return the counts since the last call, and begin anew."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            counts.update(self._work.counts())
            self._work = work.Sums()
            before, self._processor_ms = self._processor_ms, _processor_ms()
            counts[_PROCESSOR_MS] = self._processor_ms - before
            self._handed_over_at = time.monotonic()
        return counts

    def hand_over(self, redis: Redis) -> None:
        """Add the counts in a round trip of its own, for a process that fans out."""
        trip = RoundTrip(redis)
        self.add(trip, "workers")
        trip.run()


def between(redis: Redis, since: dt.datetime, until: dt.datetime) -> Pages:
    """Return the pages of the minutes that begin in a window of at most 26 hours, in one trip."""
    return _summary(_counts_between(redis, since, until))


def work_between(redis: Redis, since: dt.datetime, until: dt.datetime) -> Work:
    """Return the work of the minutes that begin in a window of at most 26 hours, in one trip."""
    return work.parse(_counts_between(redis, since, until))


def _counts_between(redis: Redis, since: dt.datetime, until: dt.datetime) -> Counter[str]:
    """Add up the hashes of the minutes that begin in a window of at most 26 hours."""
    first, end = (math.ceil(moment.timestamp() / 60) for moment in (since, until))
    trip = RoundTrip(redis)
    answers: list[Answer[dict[bytes, bytes]]] = [
        trip.ask("HGETALL", usage_of(minute))
        for minute in range(max(first, end - _MINUTES_TTL_SECONDS // 60), end)
    ]
    trip.run()
    counts: Counter[str] = Counter()
    for answer in answers:
        counts.update({field.decode(): int(count) for field, count in answer.value.items()})
    return counts


def processes(redis: Redis) -> Processes:
    """Count the processes that read feeds, and those that fan out, of the last minutes.

    If none is counted, return two, as many as `feedsvc up` starts. A process that was replaced
    counts for up to 20 minutes more, because the answer is the larger count of two periods.
    """
    trip, period = RoundTrip(redis), _period()
    readers, workers = (
        [trip.ask("SCARD", processes_of(role, at), parse=int) for at in (period - 1, period)]
        for role in ("readers", "workers")
    )
    trip.run()
    return Processes(
        *(max(answer.value for answer in each) or _USUAL_PROCESSES for each in (readers, workers))
    )


def bucket(seconds: float) -> int:
    """Return the number of the bucket of a duration."""
    if seconds <= _LOWEST_SECONDS:
        return 0
    return min(
        _LAST_BUCKET, math.ceil(_BUCKETS_PER_DOUBLING * math.log2(seconds / _LOWEST_SECONDS))
    )


def upper_bound(number: int) -> float:
    """Return the longest duration in a bucket, in seconds."""
    return _LOWEST_SECONDS * math.exp2(number / _BUCKETS_PER_DOUBLING)


def is_in_sample(viewer: int) -> bool:
    """Return whether the reads of this viewer are counted."""
    return sample_order(viewer) % SAMPLE_ONE_IN == 0


def sample_order(viewer: int) -> int:
    """Return a stable number of a viewer, evenly spread: the lowest numbers are a sample."""
    return zlib.crc32(str(viewer).encode())


def add_read(stores: Stores, trip: RoundTrip, viewer: int) -> None:
    """Count one read in a round trip, if the viewer is in the sample."""
    if is_in_sample(viewer):
        key = stores.keys.reads(stores.keys.bucket(viewer), _today())
        trip.note("HINCRBY", key, viewer, 1)
        trip.note("EXPIRE", key, _READS_TTL_SECONDS, "NX")


def remove_reads(stores: Stores, viewer: int) -> None:
    """Remove the counts of a viewer that has no account, or whose account is deleted.

    So invented ids do not fill Redis, and a deleted account leaves no counts.
    """
    if is_in_sample(viewer):
        trip, bucket = RoundTrip(stores.redis), stores.keys.bucket(viewer)
        for days in range(READ_DAYS + 1):
            trip.note("HDEL", stores.keys.reads(bucket, _today() - days), viewer)
        trip.run()


def sampled_reads(stores: Stores) -> Reads:
    """Return the reads of the last days. Hashes are scanned, so no other command waits long."""
    by_viewer: Counter[int] = Counter()
    seconds, today = 0.0, _today()
    for number in range(stores.keys.buckets):
        for day in range(today - READ_DAYS + 1, today + 1):
            key = stores.keys.reads(number, day)
            left = stores.redis.ttl(key)
            # The expiry was set by the first read of the day.
            seconds = max(seconds, _READS_TTL_SECONDS - left if left > 0 else 0.0)
            for viewer, count in stores.redis.hscan_iter(key, count=_SCAN_COUNT):
                by_viewer[int(viewer)] += int(count)
    return Reads(by_viewer, seconds)


def _summary(counts: Counter[str]) -> Pages:
    processor_seconds = counts[_PROCESSOR_MS] / 1000 if _PROCESSOR_MS in counts else None
    buckets = sorted((int(field), count) for field, count in counts.items() if field.isdigit())
    pages = sum(count for _, count in buckets)
    if not pages:
        return Pages(0, None, None, None, processor_seconds)
    durations = [(upper_bound(number), count) for number, count in buckets]
    p50, p99 = (weighted_percentile(durations, pages, per_cent) for per_cent in (50, 99))
    return Pages(pages, counts[_LISTS] / pages, p50, p99, processor_seconds)


def _period() -> int:
    return int(time.time()) // _PERIOD_SECONDS


def _processor_ms() -> int:
    return round(time.process_time() * 1000)


def _today() -> int:
    return int(time.time()) // _DAY_SECONDS
