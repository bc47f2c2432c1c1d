"""What the service does now: delivery lag, deliveries and reads; a script asks for it every few seconds."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from flask import Blueprint

from feedsvc.api.answers import answer_json
from feedsvc.api.operations import services
from feedsvc.formats import counted, duration, number
from feedsvc.routing import delivery_lag
from feedsvc.store.redis import usage
from feedsvc.store.sql.database import now

if TYPE_CHECKING:
    from flask import Response

    from feedsvc.routing.delivery_lag import Lag
    from feedsvc.store.redis.usage import Pages

pages = Blueprint("live", __name__)

_WINDOW = dt.timedelta(minutes=1)


@pages.get("/live")
def page() -> Response:
    """Each figure: its value for a trend (null: nothing to measure), the same in words, and what is beside it."""
    stores, at = services().stores, now()
    with stores.sql.reading() as connection:
        posts, delivered = delivery_lag.delivered(connection, at - _WINDOW, at)
    return answer_json(
        {
            "lag": _lag(delivery_lag.recent(stores)),
            "deliveries": _deliveries(posts, delivered / _WINDOW.total_seconds()),
            "reads": _reads(usage.between(stores.redis, at - _WINDOW, at)),
        }
    )


def _lag(found: Lag) -> dict[str, Any]:
    waits = (
        f"; the oldest waits {duration(found.oldest_unfinished_seconds)}"
        if found.oldest_unfinished_seconds
        else ""
    )
    beside = f"half within {duration(found.p50_seconds)}, of {counted(found.posts, 'post')} in 5 minutes{waits}"
    return _figure(
        found.p99_seconds,
        duration(found.p99_seconds),
        beside if found.posts else "no post was pushed in 5 minutes",
    )


def _deliveries(posts: int, each_second: float) -> dict[str, Any]:
    beside = (
        f"{counted(posts, 'post')} in the last minute" if posts else "no post in the last minute"
    )
    return _figure(each_second, f"{number(each_second)} /s", beside)


def _reads(found: Pages) -> dict[str, Any]:
    beside = f"half within {duration(found.p50_seconds)}, of {counted(found.pages, 'page')} in the last minute or two"
    return _figure(
        found.p99_seconds,
        duration(found.p99_seconds),
        beside if found.pages else "no feed was read in the last minute",
    )


def _figure(value: float | None, said: str, beside: str) -> dict[str, Any]:
    return {"value": value, "said": said, "beside": beside}
