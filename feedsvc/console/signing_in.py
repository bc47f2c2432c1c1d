"""Signing in, with an admin token or the code of a one-time link, and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from werkzeug.datastructures import Authorization

from feedsvc.api.operations import services
from feedsvc.api.problems import Unauthorized
from feedsvc.console import codes, session
from feedsvc.errors import Forbidden

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from feedsvc.api.auth import Authenticator, Caller

pages = Blueprint("signing_in", __name__)


@pages.get("/sign-in")
def page() -> str:
    """The form; also to who is signed in already, and comes with another link."""
    return render_template("console/sign_in.html", error=None)


@pages.post("/sign-in")
def sign_in() -> Response | tuple[str, int]:
    """Exchange the token, or the code, for a session."""
    try:
        begun = session.begin(_caller())
    except (Unauthorized, Forbidden) as error:
        return render_template("console/sign_in.html", error=str(error)), error.status
    answer = redirect(url_for("console.threshold.page"), 303)
    session.write(answer, request, services().jwt_secret, begun)
    return answer


@pages.post("/sign-out")
def sign_out() -> Response:
    """Take the session back."""
    answer = redirect(url_for("console.signing_in.page"), 303)
    session.end(answer)
    return answer


def _caller() -> Caller:
    """Raises `Unauthorized`."""
    code = request.form.get("code")
    if code:
        return codes.spend(services().stores, code)
    authenticator: Authenticator = current_app.extensions["feedsvc.authenticator"]
    return authenticator.caller(
        Authorization("bearer", token=request.form.get("token", "").strip())
    )
