"""What the cost model expects of a change, for the guardrails and for the record."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from feedsvc.formats import rfc3339
from feedsvc.planning.guardrail_check import Expected, Forecast
from feedsvc.planning.preview import preview
from feedsvc.planning.survey.stored import NoSurvey
from feedsvc.planning.wording import in_words

if TYPE_CHECKING:
    from feedsvc.planning.preview import Preview
    from feedsvc.store import Stores


def of(
    stores: Stores, promote_at: int, demote_at: int
) -> tuple[dict[str, Any] | None, Forecast | None]:
    """The preview of a change to these lines, as its JSON, and its forecast; None, None while the cost model has no figures."""
    try:
        seen = preview(stores, promote_at, demote_at)
    except NoSurvey:
        return None, None
    return as_json(seen), forecast(seen)


def forecast(seen: Preview) -> Forecast:
    """What the guardrails judge by. A figure without bound is infinite."""
    moved, today = (
        seen.to_pull.deliveries_per_day + seen.to_push.deliveries_per_day,
        seen.deliveries_per_day.today or 0.0,
    )
    judged = (seen.seconds_to_last_follower, seen.lists_per_read.p99, seen.redis_bytes)
    return Forecast(
        moved_percent=100 * moved / (today or moved or 1.0),
        today=Expected(*(math.inf if figure.today is None else figure.today for figure in judged)),
        then=Expected(
            *(math.inf if figure.proposed is None else figure.proposed for figure in judged)
        ),
    )


def as_json(seen: Preview) -> dict[str, Any]:
    """What `GET …/preview` answers."""
    whole: dict[str, Any] = {
        field.name: _plain(getattr(seen, field.name))
        for field in fields(seen)
        if field.name not in ("current", "costs")
    }
    current, costs = seen.current, seen.costs
    whole["current"] = {
        "version": current.version,
        "promote_at": current.promote_at,
        "demote_at": current.demote_at,
    }
    whole["costs"] = {
        "calibrated_at": _plain(costs.taken_at),
        **{name: getattr(costs, name) for name in ("machine", "workers", "is_default")},
    }
    return {**whole, "words": in_words(seen)}


def _plain(value: Any) -> Any:
    """Data classes, lists and times as JSON has them; an account's id is a string."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)} | _ids(
            value
        )
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dt.datetime):
        return rfc3339(value)
    return value


def _ids(value: Any) -> dict[str, str]:
    return {"account_id": str(value.account_id)} if hasattr(value, "account_id") else {}
