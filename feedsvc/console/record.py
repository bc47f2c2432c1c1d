"""The record: every version of the threshold, and the way back to any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, g, redirect, render_template, request, url_for
from marshmallow import fields

from feedsvc.api.fields import StrictInteger
from feedsvc.api.operations import services
from feedsvc.api.schemas import RollbackBody, Strict
from feedsvc.console import forms
from feedsvc.planning import change
from feedsvc.routing import versions

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

pages = Blueprint("record", __name__)

_VERSIONS = 20


class _Position(Strict):
    cursor = fields.String(load_default=None)


class _Wanted(Strict):
    version = StrictInteger(required=True)


class _RollbackForm(RollbackBody):
    seen = StrictInteger(required=True)


@pages.get("/record")
def page() -> str:
    """Every version, newest first."""
    found = versions.history(
        services().stores, forms.load(_Position(), request.args)["cursor"], _VERSIONS
    )
    return render_template(
        "console/record.html",
        versions=found.items,
        next_cursor=found.next_cursor,
        current=_current(),
    )


@pages.get("/record/roll-back")
def confirm() -> str:
    """What going back to a version would set, to be confirmed with a reason."""
    wanted = forms.load(_Wanted(), request.args)["version"]
    old = versions.numbered(services().stores, wanted)
    return render_template("console/roll_back.html", old=old, current=_current())


@pages.post("/record/roll-back")
def roll_back() -> Response:
    """Set a version equal to the old one."""
    form = forms.load(_RollbackForm(), request.form)
    seen = form.pop("seen")
    change.rollback(services().stores, **form, changed_by=str(g.session.account), if_match=seen)
    return redirect(url_for("console.threshold.page"), 303)


def _current() -> versions.PolicyInfo:
    return versions.current(services().stores)
