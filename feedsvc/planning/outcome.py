"""What was measured while a version of the threshold held, up to a day: beside what was predicted, it tells how good the model is."""

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
# Delivery lag is taken of up to so many posts of each half hour of the day: the same bound on a busy day.
_PARTS = 48
_POSTS_A_PART = 500


@dataclass(frozen=True)
class Outcome:
    """The time is RFC 3339. None: nothing is known, as without a post, or when Redis has lost its figures.

    `processor_seconds`: of the web processes and workers; the stores' own are not known here.
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


def fill_in(stores: Stores) -> int:
    """Measure the versions that have held for a day, or hold no more, and were not measured yet; returns how many."""
    due = [(info, *_day(info, ended_at)) for info, ended_at in versions.unmeasured(stores)]
    due = [(info, since, until) for info, since, until in due if until <= now()]
    for info, since, until in due:
        versions.record_outcome(stores, info.version, asdict(measure(stores, since, until)))
    return len(due)


def _day(info: PolicyInfo, ended_at: dt.datetime | None) -> tuple[dt.datetime, dt.datetime]:
    """The first day of a version, or less; of the settings, which hold since nobody knows when, the last."""
    if info.previous is None and ended_at is not None:
        return ended_at - DAY, ended_at
    return info.changed_at, min(
        info.changed_at + DAY, ended_at or dt.datetime.max.replace(tzinfo=dt.UTC)
    )


def measure(stores: Stores, since: dt.datetime, until: dt.datetime) -> Outcome:
    """What was measured between two times, at most a day apart."""
    part = (until - since) / _PARTS
    posts, deliveries, lags = 0, 0, list[float]()
    with stores.sql.reading() as connection:
        for start in (since + part * number for number in range(_PARTS)):
            more_posts, more_deliveries = delivery_lag.delivered(connection, start, start + part)
            posts, deliveries = posts + more_posts, deliveries + more_deliveries
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
