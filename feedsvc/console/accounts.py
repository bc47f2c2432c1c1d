"""Show and pin an account, show its latest posts, and explain a post in a feed."""

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
from feedsvc.inspection.explain import explain
from feedsvc.planning.inputs import NoSurvey
from feedsvc.planning.recommendation import recommendation
from feedsvc.routing import pins
from feedsvc.routing.guardrails import Guardrails

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from feedsvc.planning.rates import Misfit
    from feedsvc.store import Stores

pages = Blueprint("accounts", __name__)
explanations = Blueprint("explain", __name__)

_PINS = 20
_POSTS = 5


class _SearchQuery(Strict):
    id = Id(load_default=None)


class _PinForm(Strict):
    id = Id(required=True)
    route = fields.String(required=True, validate=validate.OneOf(["push", "pull"]))
    reason = Text(required=True, validate=validate.Length(min=1, max=500))
    days = StrictInteger(load_default=None, validate=validate.Range(min=1, max=3650))


class _ExplainQuery(Strict):
    viewer = Id(load_default=None)
    post = Id(load_default=None)


@pages.get("/accounts")
def page() -> str:
    """Show one account; without an id, the current pins and the accounts that a pin would help."""
    stores, account = services().stores, forms.load(_SearchQuery(), request.args)["id"]
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
    """Pin the account to a route, for some days or permanently."""
    form = forms.load(_PinForm(), request.form)
    days = form["days"]
    pins.pin(
        services().stores,
        form["id"],
        route=form["route"],
        reason=form["reason"],
        expires_at=None if days is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=days),
        pinned_by=str(g.session.account),
    )
    return redirect(url_for(".page", id=form["id"]), 303)


@pages.post("/accounts/unpin")
def unpin() -> Response:
    """Remove the account's pin, so that the threshold decides again."""
    account = forms.load(_PinForm(only=["id"]), request.form)["id"]
    pins.unpin(services().stores, account)
    return redirect(url_for(".page", id=account), 303)


@explanations.get("/explain", endpoint="page")
def explanation() -> str:
    """Show the form, and the explanation if both ids are given."""
    query = forms.load(_ExplainQuery(), request.args)
    viewer, post = query["viewer"], query["post"]
    found = None if None in (viewer, post) else explain(services().stores, viewer, post)
    return render_template("console/explain.html", found=found, viewer=viewer, post=post)


def _misfits(stores: Stores) -> list[Misfit]:
    """Return the accounts that a pin would help, largest saving first; none without a survey."""
    try:
        advice = recommendation(stores, Guardrails())
    except NoSurvey:
        return []
    return sorted(
        [*advice.large_but_silent, *advice.small_but_talkative],
        key=lambda misfit: -misfit.saves_per_day,
    )


def _latest_posts(stores: Stores, account: int) -> list[dict[str, Any]]:
    """Return the account's latest posts, newest first, each with the status of its fan-out."""
    bodies = profile.profile_page(stores, None, account, None, _POSTS).items
    posts = [json.loads(body) for body in bodies]
    return [{**post, "fanout": status.status(stores, int(post["id"]))} for post in posts]
