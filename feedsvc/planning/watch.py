"""A change that is watched: measured delivery lag or read latency above its limit rolls it back, by itself.

What was above its limit before the change is not the change's doing, and is not watched: or the cure would be taken back as well.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from feedsvc.formats import percentile
from feedsvc.routing import delivery_lag
from feedsvc.routing.guardrails import WATCHED_SECONDS, Guardrails
from feedsvc.routing.versions import Watch
from feedsvc.store.redis import usage
from feedsvc.store.sql.database import now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feedsvc.store import Stores
    from feedsvc.store.redis.usage import Pages

# What is measured has to be more than an accident.
ENOUGH_POSTS = 20
ENOUGH_PAGES = 100
_WINDOW = dt.timedelta(minutes=5)


def begin(stores: Stores, guardrails: Guardrails) -> Watch | None:
    """How a change that is made now is to be watched; None if there is no limit, or each is broken already."""
    seconds = guardrails.roll_back_within_seconds or WATCHED_SECONDS
    limits = Watch(
        now() + dt.timedelta(seconds=seconds),
        guardrails.roll_back_delivery_seconds,
        guardrails.roll_back_read_p99_seconds,
    )
    delivery, read_p99 = limits.delivery_seconds, limits.read_p99_seconds
    if delivery is not None and late(
        _lags(stores, delivery, dt.datetime.min.replace(tzinfo=dt.UTC)), delivery
    ):
        delivery = None
    if read_p99 is not None and slow(_pages(stores, now() - _WINDOW), read_p99):
        read_p99 = None
    return (
        None if delivery is None and read_p99 is None else Watch(limits.until, delivery, read_p99)
    )


def broken(stores: Stores, watch: Watch, since: dt.datetime) -> str | None:
    """What this version, which holds since then, has broken by now, in words with the numbers; None: nothing, or not enough is known."""
    found = None
    if watch.delivery_seconds is not None:
        found = late(_lags(stores, watch.delivery_seconds, since), watch.delivery_seconds)
    if found is None and watch.read_p99_seconds is not None:
        found = slow(_pages(stores, max(since, now() - _WINDOW)), watch.read_p99_seconds)
    return found


def late(lags: Sequence[float], limit: float) -> str | None:
    """What is wrong with these delivery lags of posts uploaded longer ago than the limit, ascending; None: nothing."""
    p99 = percentile(lags, 99)
    if p99 is None or len(lags) < ENOUGH_POSTS or p99 <= limit:
        return None
    return f"delivery lag p99 {p99:.3g} s over {len(lags)} posts, the limit is {limit:.3g} s"


def slow(pages: Pages, limit: float) -> str | None:
    """What is wrong with these read latencies; None: nothing."""
    if pages.p99_seconds is None or pages.pages < ENOUGH_PAGES or pages.p99_seconds <= limit:
        return None
    return (
        f"read p99 {pages.p99_seconds:.3g} s over {pages.pages} pages, the limit is {limit:.3g} s"
    )


def _lags(stores: Stores, limit: float, since: dt.datetime) -> list[float]:
    """Of the posts whose time to be delivered within the limit is over, one way or the other: those of the last minutes."""
    until = now() - dt.timedelta(seconds=limit)
    with stores.sql.reading() as connection:
        return delivery_lag.between(connection, max(since, until - _WINDOW), until)


def _pages(stores: Stores, since: dt.datetime) -> Pages:
    return usage.between(stores.redis, since, now())
