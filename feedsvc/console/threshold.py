"""The threshold: where it is, what another one would do, and setting it, in two steps."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from flask import Blueprint, g, redirect, render_template, request, url_for

from feedsvc.api.answers import answer_json
from feedsvc.api.fields import StrictInteger
from feedsvc.api.operations import services
from feedsvc.api.planning_schemas import PreviewQuery
from feedsvc.api.schemas import ThresholdBody
from feedsvc.console import forms, preview_rows
from feedsvc.errors import Refused
from feedsvc.planning import change
from feedsvc.planning.overview import distribution
from feedsvc.planning.preview import preview
from feedsvc.planning.recommendation import RecommendationLimits, recommendation
from feedsvc.planning.survey import stored
from feedsvc.planning.survey.stored import NoSurvey
from feedsvc.routing import guardrails, load_shedding, versions

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

pages = Blueprint("threshold", __name__)

_LATEST = 3


class _ChangeForm(ThresholdBody):
    seen = StrictInteger(required=True)


@pages.get("/")
def page() -> str:
    """Today's threshold, the form to change it, and the latest versions."""
    stores = services().stores
    latest = versions.history(stores, None, _LATEST).items
    kept_by = {
        name: limit
        for name, limit in asdict(guardrails.current(stores).guardrails).items()
        if limit is not None
    }
    return render_template(
        "console/threshold.html",
        current=latest[0],
        versions=latest,
        guardrails=kept_by,
        relief=load_shedding.current(stores),
    )


@pages.get("/threshold/charts")
def charts() -> Response:
    """What the charts show: the distribution of followers, and what each threshold of a grid costs."""
    stores = services().stores
    limits = asdict(guardrails.current(stores).guardrails)
    to_keep = RecommendationLimits(
        **{field.name: limits[field.name] for field in fields(RecommendationLimits)}
    )
    return answer_json(
        preview_rows.charts(distribution(stored.survey(stores)), recommendation(stores, to_keep))
    )


@pages.get("/threshold/preview")
def shown_preview() -> str:
    """What these lines would do: a part of a page."""
    shown = preview(services().stores, **forms.load(PreviewQuery(), request.args))
    return render_template("console/_preview.html", figures=preview_rows, preview=shown)


@pages.get("/threshold/confirm")
def confirm() -> str:
    """What the change would do, in numbers, to be confirmed."""
    return _confirmation(forms.load(ThresholdBody(), request.args), broken=[])


@pages.post("/threshold")
def apply() -> Response | tuple[str, int]:
    """Set the threshold, if it is still the one that was looked at; what a guardrail refuses may be forced."""
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
    current = versions.current(stores)
    return render_template(
        "console/confirm.html",
        wanted=wanted,
        current=current,
        figures=preview_rows,
        preview=shown,
        broken=broken,
    )
