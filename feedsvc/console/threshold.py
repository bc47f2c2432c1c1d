"""Show the threshold and the live figures, and preview another threshold.

Set it in two steps: review, then apply.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flask import Blueprint, g, redirect, render_template, request, url_for

from feedsvc.api.answers import answer_json
from feedsvc.api.fields import StrictInteger
from feedsvc.api.operations import services
from feedsvc.api.planning_schemas import PreviewQuery
from feedsvc.api.schemas import ThresholdBody
from feedsvc.console import figures, forms
from feedsvc.errors import Refused
from feedsvc.formats import counted, duration, number
from feedsvc.planning import change
from feedsvc.planning.inputs import NoSurvey, distribution, latest_survey
from feedsvc.planning.preview import preview
from feedsvc.planning.recommendation import recommendation
from feedsvc.routing import delivery_lag, guardrails, load_shedding, versions
from feedsvc.store.redis import usage
from feedsvc.store.sql import clock

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from feedsvc.routing.delivery_lag import Lag
    from feedsvc.store.redis.usage import Pages

pages = Blueprint("threshold", __name__)

_LATEST = 3
_LIVE_WINDOW = dt.timedelta(minutes=1)


class _ChangeForm(ThresholdBody):
    seen = StrictInteger(required=True)


@pages.get("/")
def page() -> str:
    """Show today's threshold, the form that changes it, and the latest versions."""
    stores = services().stores
    latest = versions.history(stores, None, _LATEST).items
    limits = asdict(guardrails.current(stores).guardrails)
    return render_template(
        "console/threshold.html",
        current=latest[0],
        versions=latest,
        guardrails={name: limit for name, limit in limits.items() if limit is not None},
        load_shedding=load_shedding.current(stores),
    )


@pages.get("/live")
def live() -> Response:
    """Return the live figures: delivery lag, deliveries and reads.

    A script asks for them every few seconds. Each figure is a number (null: nothing to measure), a
    text, and a note.
    """
    stores = services().stores
    with stores.sql.reading() as connection:
        at = clock.read(connection)
        posts, delivered = delivery_lag.delivered(connection, at - _LIVE_WINDOW, at)
    lag, reads = delivery_lag.recent(stores), usage.between(stores.redis, at - _LIVE_WINDOW, at)
    each_second = delivered / _LIVE_WINDOW.total_seconds()
    posted = f"{counted(posts, 'post') if posts else 'no post'} in the last minute"
    return answer_json(
        {
            "lag": _figure(lag.p99_seconds, duration(lag.p99_seconds), _lag_note(lag)),
            "deliveries": _figure(each_second, f"{number(each_second)} /s", posted),
            "reads": _figure(reads.p99_seconds, duration(reads.p99_seconds), _reads_note(reads)),
        }
    )


@pages.get("/threshold/charts")
def charts() -> Response:
    """Return the data of the charts: accounts by followers, and the cost of each threshold."""
    stores = services().stores
    advice = recommendation(stores, guardrails.current(stores).guardrails)
    return answer_json(figures.charts(distribution(latest_survey(stores)), advice))


@pages.get("/threshold/preview")
def shown_preview() -> str:
    """Return the part of the page that previews a threshold."""
    shown = preview(services().stores, **forms.load(PreviewQuery(), request.args))
    return render_template("console/_preview.html", figures=figures, preview=shown)


@pages.get("/threshold/confirm")
def confirm() -> str:
    """Show the effects of a change, and ask for a confirmation."""
    return _confirmation(forms.load(ThresholdBody(), request.args), broken=[])


@pages.post("/threshold")
def apply() -> Response | tuple[str, int]:
    """Set the threshold, unless it has changed since the review.

    If a guardrail refuses, ask for a confirmation that forces the change.
    """
    wanted: dict[str, Any] = forms.load(_ChangeForm(), request.form)
    seen = wanted.pop("seen")
    try:
        change.change(services().stores, **wanted, changed_by=str(g.session.account), if_match=seen)
    except Refused as refused:
        return _confirmation(wanted, refused.broken), refused.status
    return redirect(url_for(".page"), 303)


def _confirmation(wanted: dict[str, Any], broken: list[dict[str, Any]]) -> str:
    stores = services().stores
    try:
        shown = preview(stores, wanted["promote_at"], wanted["demote_at"])
    except NoSurvey:
        shown = None
    return render_template(
        "console/confirm.html",
        wanted=wanted,
        current=versions.current(stores),
        figures=figures,
        preview=shown,
        broken=broken,
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
        return "no read was counted in the last two minutes"
    half = duration(reads.p50_seconds)
    return f"{counted(reads.pages, 'page')} in the last two minutes, half of them within {half}"


def _figure(value: float | None, text: str, note: str) -> dict[str, Any]:
    return {"value": value, "said": text, "beside": note}
