"""Is this post in this feed, and why or why not: `feed explain`, to look at."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from feedsvc.api.fields import Id
from feedsvc.api.operations import services
from feedsvc.api.schemas import Strict
from feedsvc.console import forms
from feedsvc.inspection.explain import explain

pages = Blueprint("explain", __name__)


class _Question(Strict):
    viewer = Id(load_default=None)
    post = Id(load_default=None)


@pages.get("/explain")
def page() -> str:
    """The question, and its answer if both ids are given."""
    asked = forms.load(_Question(), request.args)
    found = (
        explain(services().stores, asked["viewer"], asked["post"])
        if None not in asked.values()
        else None
    )
    return render_template("console/explain.html", found=found, **asked)
