"""An account: the route of its next post and why, its pin, its latest posts and what became of them."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from marshmallow import fields, validate

from feedsvc.api.fields import Id, StrictInteger, Text
from feedsvc.api.operations import services
from feedsvc.api.schemas import Strict
from feedsvc.console import forms
from feedsvc.fanout import status
from feedsvc.feed import profile
from feedsvc.planning.recommendation import RecommendationLimits, recommendation
from feedsvc.planning.survey.stored import NoSurvey
from feedsvc.routing import pins

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from feedsvc.planning.rates import Misfit
    from feedsvc.store import Stores

pages = Blueprint("accounts", __name__)

_PINS = 20
_POSTS = 5


class _Search(Strict):
    id = Id(load_default=None)


class _PinForm(Strict):
    id = Id(required=True)
    route = fields.String(required=True, validate=validate.OneOf(["push", "pull"]))
    reason = Text(required=True, validate=validate.Length(min=1, max=500))
    days = StrictInteger(load_default=None, validate=validate.Range(min=1, max=3650))


class _UnpinForm(Strict):
    id = Id(required=True)


@pages.get("/accounts")
def page() -> str:
    """The search, and what it found: an account, or the pins that stand."""
    stores, account = services().stores, forms.load(_Search(), request.args)["id"]
    if account is None:
        return render_template(
            "console/accounts.html",
            account=None,
            pins=pins.pins(stores, None, _PINS).items,
            misfits=_misfits(stores),
        )
    return render_template(
        "console/accounts.html",
        account=pins.route_of(stores, account),
        posts=_latest_posts(stores, account),
    )


@pages.post("/accounts/pin")
def pin() -> Response:
    """Fix the account's route."""
    form = forms.load(_PinForm(), request.form)
    expires_at = (
        None if form["days"] is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=form["days"])
    )
    stores, by = services().stores, str(g.session.account)
    pins.pin(
        stores,
        form["id"],
        route=form["route"],
        reason=form["reason"],
        expires_at=expires_at,
        pinned_by=by,
    )
    return redirect(url_for(".page", id=form["id"]), 303)


@pages.post("/accounts/unpin")
def unpin() -> Response:
    """Let the threshold decide again."""
    account = forms.load(_UnpinForm(), request.form)["id"]
    pins.unpin(services().stores, account)
    return redirect(url_for(".page", id=account), 303)


def _misfits(stores: Stores) -> list[Misfit]:
    """The accounts that a threshold by followers gets most wrong, largest saving first; none while nothing is known."""
    try:
        advice = recommendation(stores, RecommendationLimits())
    except NoSurvey:
        return []
    return sorted(
        [*advice.large_but_silent, *advice.small_but_talkative],
        key=lambda found: -found.saves_per_day,
    )


def _latest_posts(stores: Stores, account: int) -> list[dict[str, Any]]:
    """The account's latest posts, each with its fan-out."""
    found = [
        json.loads(post) for post in profile.profile_page(stores, None, account, None, _POSTS).items
    ]
    return [{**post, "fanout": status.status(stores, int(post["id"]))} for post in found]
