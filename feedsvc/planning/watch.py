"""Watch a change: find out whether delivery lag or read latency is above its limits."""

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
    from feedsvc.store import Stores

# Fewer posts or pages may break a limit by accident.
ENOUGH_POSTS = 20
ENOUGH_PAGES = 100
_WINDOW = dt.timedelta(minutes=5)
# A start before all posts and pages.
_EVER = dt.datetime.min.replace(tzinfo=dt.UTC)


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
    return Watch(now() + dt.timedelta(seconds=seconds), delivery, read_p99)


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
    until = now() - dt.timedelta(seconds=limit)
    with stores.sql.reading() as connection:
        lags = delivery_lag.between(connection, max(since, until - _WINDOW), until)
    p99 = percentile(lags, 99)
    if p99 is None or len(lags) < ENOUGH_POSTS or p99 <= limit:
        return None
    return f"delivery lag p99 {p99:.3g} s over {len(lags)} posts, the limit is {limit:.3g} s"


def _slow(stores: Stores, limit: float | None, since: dt.datetime) -> str | None:
    if limit is None:
        return None
    found = usage.between(stores.redis, max(since, now() - _WINDOW), now())
    p99, pages = found.p99_seconds, found.pages
    if p99 is None or pages < ENOUGH_PAGES or p99 <= limit:
        return None
    return f"read p99 {p99:.3g} s over {pages} pages, the limit is {limit:.3g} s"
