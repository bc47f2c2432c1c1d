"""Watch versions in force: find broken limits, and measure the outcome of each version.

The limits are on delivery lag and read latency. An outcome covers up to a day. The record of
versions shows it next to the forecast, so operators see how good the cost model is.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from feedsvc.formats import percentile, rfc3339
from feedsvc.routing import delivery_lag, versions
from feedsvc.routing.guardrails import WATCHED_SECONDS, Guardrails
from feedsvc.routing.versions import PolicyInfo, Watch
from feedsvc.store.redis import usage
from feedsvc.store.sql import clock

if TYPE_CHECKING:
    from feedsvc.store import Stores

# With fewer posts or pages, a percentile may be above its limit by chance.
ENOUGH_POSTS = 20
ENOUGH_PAGES = 100
_WINDOW = dt.timedelta(minutes=5)
# The earliest time: no lower bound.
_EVER = dt.datetime.min.replace(tzinfo=dt.UTC)

DAY = dt.timedelta(days=1)
# Delivery lag is sampled: at most 500 posts of each 48th part of the measured time (half an hour of
# a full day). So the percentiles of a busy day cost no more than those of a quiet day, and every
# part is represented.
_PARTS = 48
_POSTS_A_PART = 500


@dataclass(frozen=True)
class Outcome:
    """Measurements between two times, written as RFC 3339.

    None means that nothing was measured: there was no post, or Redis has lost its counters.
    `processor_seconds` covers web processes and workers, not the database, Redis or the broker.
    """

    since: str
    until: str
    posts: int
    deliveries: int
    delivery_p50_seconds: float | None
    delivery_p99_seconds: float | None
    reads: int
    lists_per_read: float | None
    read_p50_seconds: float | None
    read_p99_seconds: float | None
    processor_seconds: float | None


def begin(stores: Stores, guardrails: Guardrails) -> Watch | None:
    """Return how to watch a change that is made now; None if no limit is to be watched.

    A limit that is broken before the change is not watched. The change did not break it, and a
    rollback would undo the cure.
    """
    seconds = guardrails.roll_back_within_seconds or WATCHED_SECONDS
    delivery = guardrails.roll_back_delivery_seconds
    read_p99 = guardrails.roll_back_read_p99_seconds
    if _late(stores, delivery, _EVER):
        delivery = None
    if _slow(stores, read_p99, _EVER):
        read_p99 = None
    if delivery is None and read_p99 is None:
        return None
    return Watch(clock.now(stores.sql) + dt.timedelta(seconds=seconds), delivery, read_p99)


def broken(stores: Stores, watch: Watch, since: dt.datetime) -> str | None:
    """Return a sentence with the limit that a version has broken since it was set, and by how much.

    None means that the version keeps its limits, or that too little was measured.
    """
    return _late(stores, watch.delivery_seconds, since) or _slow(
        stores, watch.read_p99_seconds, since
    )


def _late(stores: Stores, limit: float | None, since: dt.datetime) -> str | None:
    if limit is None:
        return None
    # A post counts once the limit has passed since its upload: it is delivered in time, or late.
    with stores.sql.reading() as connection:
        until = clock.read(connection) - dt.timedelta(seconds=limit)
        lags = delivery_lag.between(connection, max(since, until - _WINDOW), until)
    p99 = percentile(lags, 99)
    if p99 is None or len(lags) < ENOUGH_POSTS or p99 <= limit:
        return None
    return f"delivery lag p99 {p99:.3g} s over {len(lags)} posts, the limit is {limit:.3g} s"


def _slow(stores: Stores, limit: float | None, since: dt.datetime) -> str | None:
    if limit is None:
        return None
    at = clock.now(stores.sql)
    found = usage.between(stores.redis, max(since, at - _WINDOW), at)
    p99, pages = found.p99_seconds, found.pages
    if p99 is None or pages < ENOUGH_PAGES or p99 <= limit:
        return None
    return f"read p99 {p99:.3g} s over {pages} pages, the limit is {limit:.3g} s"


def measure_due(stores: Stores) -> int:
    """Record the outcome of each version that was in force for a day, or was replaced.

    Returns how many outcomes it recorded.
    """
    recorded = 0
    for info, ended_at in versions.unmeasured(stores):
        since, until = _measured_day(info, ended_at)
        if until <= clock.now(stores.sql):
            versions.record_outcome(stores, info.version, asdict(measure(stores, since, until)))
            recorded += 1
    return recorded


def _measured_day(
    info: PolicyInfo, ended_at: dt.datetime | None
) -> tuple[dt.datetime, dt.datetime]:
    """Return the start and the end of the measured time.

    It is the version's first day, cut at its replacement. The start of version 1 is unknown, so its
    last day is measured.
    """
    if info.previous is None and ended_at is not None:
        return ended_at - DAY, ended_at
    day_after = info.changed_at + DAY
    return info.changed_at, min(day_after, ended_at or day_after)


def measure(stores: Stores, since: dt.datetime, until: dt.datetime) -> Outcome:
    """Measure the time between two moments, at most a day apart."""
    part = (until - since) / _PARTS
    with stores.sql.reading() as connection:
        posts, deliveries = delivery_lag.delivered(connection, since, until)
        lags = sorted(
            lag
            for start in (since + part * number for number in range(_PARTS))
            for lag in delivery_lag.between(connection, start, start + part, _POSTS_A_PART)
        )
    pages = usage.between(stores.redis, since, until)
    return Outcome(
        since=rfc3339(since),
        until=rfc3339(until),
        posts=posts,
        deliveries=deliveries,
        delivery_p50_seconds=percentile(lags, 50),
        delivery_p99_seconds=percentile(lags, 99),
        reads=pages.pages,
        lists_per_read=pages.lists_per_read,
        read_p50_seconds=pages.p50_seconds,
        read_p99_seconds=pages.p99_seconds,
        processor_seconds=pages.processor_seconds,
    )
