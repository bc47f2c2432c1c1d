"""The record: every version of the threshold with its forecast and outcome, and roll back."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from marshmallow import fields

from feedsvc.api.fields import StrictInteger
from feedsvc.api.operations import services
from feedsvc.api.schemas import RollbackBody, Strict
from feedsvc.console import forms
from feedsvc.formats import duration, number
from feedsvc.planning import change
from feedsvc.routing import versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.wrappers import Response

    from feedsvc.routing.versions import PolicyInfo

pages = Blueprint("record", __name__)

_VERSIONS = 20
_DAY_SECONDS = 86_400
# A shorter measurement says nothing about a day.
_LEAST_DAYS = 1 / 24


class _RecordQuery(Strict):
    cursor = fields.String(load_default=None)


class _RollbackForm(RollbackBody):
    seen = StrictInteger(required=True)


@dataclass(frozen=True)
class _Compared:
    """A figure of a version, with its place in the forecast and in the outcome.

    `forecast` is a dotted path; empty if the figure is not predicted. `write` formats a value.
    `is_sum`: the outcome is a sum over the measured time, not a mean or a percentile.
    """

    name: str
    forecast: str
    outcome: str
    write: Callable[[float | None], str]
    is_sum: bool = False


_COMPARED = (
    _Compared("Deliveries a day", "deliveries_per_day", "deliveries", number, is_sum=True),
    _Compared(
        "Upload to last follower (mean predicted, p99 measured)",
        "seconds_to_last_follower",
        "delivery_p99_seconds",
        duration,
    ),
    _Compared("Lists merged a read, mean", "lists_per_read.mean", "lists_per_read", number),
    _Compared(
        "Processor time a day (measured without the stores)",
        "processor_seconds_per_day.total",
        "processor_seconds",
        duration,
        is_sum=True,
    ),
    _Compared("Read latency, 99th percentile", "", "read_p99_seconds", duration),
)


@pages.get("/record")
def page() -> str:
    """Show the versions, newest first."""
    stores, query = services().stores, forms.load(_RecordQuery(), request.args)
    found = versions.history(stores, query["cursor"], _VERSIONS)
    return render_template(
        "console/record.html",
        versions=found.items,
        next_cursor=found.next_cursor,
        current=versions.current(stores),
    )


@pages.get("/record/roll-back")
def confirm() -> str:
    """Show the effect of a roll back, and ask for a reason."""
    stores, query = services().stores, forms.load(RollbackBody(only=["version"]), request.args)
    old = versions.numbered(stores, query["version"])
    return render_template("console/roll_back.html", old=old, current=versions.current(stores))


@pages.post("/record/roll-back")
def roll_back() -> Response:
    """Set a version equal to the old one."""
    form = forms.load(_RollbackForm(), request.form)
    seen = form.pop("seen")
    change.rollback(services().stores, **form, changed_by=str(g.session.account), if_match=seen)
    return redirect(url_for("console.threshold.page"), 303)


def compared(version: PolicyInfo) -> list[tuple[str, str, str]]:
    """Return the name, the predicted and the measured value of each figure, written for people.

    A measured sum is brought to a day.
    """
    days = measured_seconds(version) / _DAY_SECONDS
    rows = []
    for figure in _COMPARED:
        measured = (version.measured or {}).get(figure.outcome)
        if figure.is_sum and measured is not None:
            measured = measured / days if days >= _LEAST_DAYS else None
        predicted = _proposed(version.predicted, figure.forecast)
        rows.append((figure.name, figure.write(predicted), figure.write(measured)))
    return rows


def measured_seconds(version: PolicyInfo) -> float:
    """Return for how many seconds the version was measured; 0 if it was not."""
    if version.measured is None:
        return 0.0
    since, until = (dt.datetime.fromisoformat(version.measured[end]) for end in ("since", "until"))
    return (until - since).total_seconds()


def _proposed(predicted: dict[str, Any] | None, path: str) -> float | None:
    """Return the predicted value of the figure at a dotted path; None if there is none."""
    figure: Any = predicted
    for name in path.split("."):
        figure = (figure or {}).get(name)
    return None if figure is None else figure.get("proposed")
