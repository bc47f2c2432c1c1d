"""Live figures: delivery lag, deliveries, reads. A script asks for them every few seconds."""

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
    """Return each figure as a number (null: nothing to measure), as text, and with a note."""
    stores, at = services().stores, now()
    with stores.sql.reading() as connection:
        posts, delivered = delivery_lag.delivered(connection, at - _WINDOW, at)
    lag, reads = delivery_lag.recent(stores), usage.between(stores.redis, at - _WINDOW, at)
    each_second = delivered / _WINDOW.total_seconds()
    posted = f"{counted(posts, 'post') if posts else 'no post'} in the last minute"
    return answer_json(
        {
            "lag": _figure(lag.p99_seconds, duration(lag.p99_seconds), _lag_note(lag)),
            "deliveries": _figure(each_second, f"{number(each_second)} /s", posted),
            "reads": _figure(reads.p99_seconds, duration(reads.p99_seconds), _reads_note(reads)),
        }
    )


def _lag_note(lag: Lag) -> str:
    if not lag.posts:
        return "no post was pushed in 5 minutes"
    half = duration(lag.p50_seconds)
    note = f"{counted(lag.posts, 'post')} in 5 minutes, half of them within {half}"
    if not lag.oldest_unfinished_seconds:
        return note
    return f"{note}; the oldest unfinished one is {duration(lag.oldest_unfinished_seconds)} old"


def _reads_note(reads: Pages) -> str:
    if not reads.pages:
        return "no feed was read in the last minute"
    half = duration(reads.p50_seconds)
    return f"{counted(reads.pages, 'page')} in the last two minutes, half of them within {half}"


def _figure(value: float | None, text: str, note: str) -> dict[str, Any]:
    return {"value": value, "said": text, "beside": note}
