"""Forecast a change of the threshold, and judge the forecast by the guardrails.

No limit applies until an operator sets it. A change that breaks a limit is refused unless it is
forced. A rollback is never judged.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from feedsvc.formats import rfc3339
from feedsvc.planning.inputs import NoSurvey
from feedsvc.planning.preview import Figure, in_words, preview

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feedsvc.planning.preview import Preview
    from feedsvc.routing.guardrails import Guardrails
    from feedsvc.store import Stores


@dataclass(frozen=True)
class Broken:
    """A limit that a change would break.

    `value` is None if the cost model has no figure to judge by, or a figure without bound.
    """

    guardrail: str
    limit: float
    value: float | None
    detail: str


def forecast(stores: Stores, promote_at: int, demote_at: int) -> Preview | None:
    """Return the preview of a change; None if there is no survey yet."""
    try:
        return preview(stores, promote_at, demote_at)
    except NoSurvey:
        return None


def as_json(preview: Preview) -> dict[str, Any]:
    """Return a preview as `GET …/preview` answers it. The record of versions stores this."""
    current, costs = preview.current, preview.costs
    answer = asdict(preview)
    answer["inputs"]["taken_at"] = rfc3339(preview.inputs.taken_at)
    for account in answer["to_pull"]["largest"] + answer["to_push"]["largest"]:
        account["account_id"] = str(account["account_id"])
    answer["current"] = {
        "version": current.version,
        "promote_at": current.promote_at,
        "demote_at": current.demote_at,
    }
    answer["costs"] = {
        "calibrated_at": rfc3339(costs.taken_at) if costs.taken_at else None,
        "machine": costs.machine,
        "workers": costs.workers,
        "is_default": costs.is_default,
    }
    return {**answer, "words": in_words(preview)}


def broken(
    guardrails: Guardrails, promote_at: int, demote_at: int, preview: Preview | None
) -> list[Broken]:
    """Return the limits that a change would break, in the order of `Guardrails`. Pure."""
    return [
        *_broken_bounds(guardrails, promote_at, demote_at),
        *_broken_figures(guardrails, preview),
    ]


def _broken_bounds(guardrails: Guardrails, promote_at: int, demote_at: int) -> Iterator[Broken]:
    for line, value in (("promote_at", promote_at), ("demote_at", demote_at)):
        least, most = getattr(guardrails, f"min_{line}"), getattr(guardrails, f"max_{line}")
        if least is not None and value < least:
            detail = f"{line} {value} is below its bound of {least}"
            yield Broken(f"min_{line}", least, value, detail)
        if most is not None and value > most:
            yield Broken(f"max_{line}", most, value, f"{line} {value} is above its bound of {most}")
    limit = guardrails.max_demote_percent
    if limit is not None and demote_at * 100 > limit * promote_at:
        percent = demote_at * 100 / promote_at
        detail = f"demote_at is {percent:.6g} % of promote_at, the limit is {limit} %"
        yield Broken("max_demote_percent", limit, percent, detail)


def moved_percent(preview: Preview) -> Figure:
    """Return the deliveries a day that a change adds and saves, in percent of today's."""
    moved = preview.to_pull.deliveries_per_day + preview.to_push.deliveries_per_day
    percent = 100 * moved / (preview.deliveries_per_day.today or moved or 1.0)
    return Figure(0.0, percent, percent, None)


# A limit, the unit of its figure, and the figure itself.
_FIGURES = (
    ("max_moved_percent", "% of a day's deliveries moved", moved_percent),
    (
        "max_delivery_seconds",
        "seconds to the last follower",
        lambda preview: preview.seconds_to_last_follower,
    ),
    ("max_lists_per_read", "lists merged a read", lambda preview: preview.lists_per_read.p99),
    ("max_memory_bytes", "bytes of memory", lambda preview: preview.redis_bytes),
)


def _broken_figures(guardrails: Guardrails, preview: Preview | None) -> Iterator[Broken]:
    for guardrail, unit, figure_of in _FIGURES:
        limit = getattr(guardrails, guardrail)
        if limit is None:
            continue
        if preview is None:
            detail = (
                f"{unit}: at most {limit:.6g}, and the cost model has no figures yet to judge by"
            )
            yield Broken(guardrail, limit, None, detail)
            continue
        figure = figure_of(preview)
        today = math.inf if figure.today is None else figure.today
        value = math.inf if figure.proposed is None else figure.proposed
        # A figure that is above its limit today may improve without reaching the limit.
        if value > max(limit, today):
            amount = f"{unit} without end" if value == math.inf else f"{value:.6g} {unit}"
            detail = f"{amount}, the limit is {limit:.6g}"
            yield Broken(guardrail, limit, figure.proposed, detail)
