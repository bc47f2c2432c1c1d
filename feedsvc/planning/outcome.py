"""Measure the outcome of a version: delivery lag, reads and costs over up to a day.

The record shows the outcome next to the forecast, so operators see how good the cost model is.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from feedsvc.formats import percentile, rfc3339
from feedsvc.routing import delivery_lag, versions
from feedsvc.store.redis import usage
from feedsvc.store.sql.database import now

if TYPE_CHECKING:
    from feedsvc.routing.versions import PolicyInfo
    from feedsvc.store import Stores

DAY = dt.timedelta(days=1)
# Delivery lag is sampled from each half hour of the day, at most 500 posts of each. So a busy day
# costs no more to measure than a quiet day, and every half hour counts.
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


def measure_due(stores: Stores) -> int:
    """Record the outcome of each version that was in force for a day, or was replaced.

    Returns how many outcomes it recorded.
    """
    recorded = 0
    for info, ended_at in versions.unmeasured(stores):
        since, until = _measured_day(info, ended_at)
        if until <= now():
            outcome = asdict(measure(stores, since, until))
            versions.record_outcome(stores, info.version, outcome)
            recorded += 1
    return recorded


def _measured_day(
    info: PolicyInfo, ended_at: dt.datetime | None
) -> tuple[dt.datetime, dt.datetime]:
    """Return the first day of a version, or less if it was replaced earlier.

    The settings make the first version, and their start is unknown. Its last day counts.
    """
    if info.previous is None and ended_at is not None:
        return ended_at - DAY, ended_at
    day_after = info.changed_at + DAY
    return info.changed_at, min(day_after, ended_at or day_after)


def measure(stores: Stores, since: dt.datetime, until: dt.datetime) -> Outcome:
    """Measure the time between two moments, at most a day apart."""
    part = (until - since) / _PARTS
    lags = list[float]()
    with stores.sql.reading() as connection:
        posts, deliveries = delivery_lag.delivered(connection, since, until)
        for start in (since + part * number for number in range(_PARTS)):
            lags += delivery_lag.between(connection, start, start + part, _POSTS_A_PART)
    lags.sort()
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
