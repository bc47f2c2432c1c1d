"""Sign in with an admin token or with a one-time link, and sign out.

A link carries its code after the `#`, so that the code reaches no server's log and no other site.
Redis stores only the code's digest.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from typing import TYPE_CHECKING, cast

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from werkzeug.datastructures import Authorization

from feedsvc.api.auth import Caller
from feedsvc.api.operations import services
from feedsvc.api.problems import Unauthorized
from feedsvc.console import session
from feedsvc.errors import Forbidden
from feedsvc.store.redis import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from werkzeug.wrappers import Response

    from feedsvc.api.auth import Authenticator
    from feedsvc.store import Stores

pages = Blueprint("signing_in", __name__)

_LINK_SECONDS = 3_600


def one_time_link(stores: Stores, url: str, account: int, scopes: Iterable[str]) -> str:
    """Return a link to the console at `url` that signs in its first user, within an hour."""
    code = secrets.token_urlsafe(24)
    stores.redis.set(_key(code), json.dumps([account, sorted(scopes)]), ex=_LINK_SECONDS)
    return f"{url}{session.PATH}/sign-in#{code}"


@pages.get("/sign-in")
def page() -> str:
    """Show the form, also during a session: a link may be for another account."""
    return render_template("console/sign_in.html", error=None)


@pages.post("/sign-in")
def sign_in() -> Response | tuple[str, int]:
    """Exchange a token, or a link's code, for a session."""
    try:
        begun = session.begin(_caller())
    except (Unauthorized, Forbidden) as error:
        return render_template("console/sign_in.html", error=str(error)), error.status
    answer = redirect(url_for("console.threshold.page"), 303)
    session.write(answer, request, services().jwt_secret, begun)
    return answer


@pages.post("/sign-out")
def sign_out() -> Response:
    """End the session."""
    answer = redirect(url_for("console.signing_in.page"), 303)
    session.end(answer)
    return answer


def _caller() -> Caller:
    """Return the caller that the form's code or token stands for. Raises `Unauthorized`."""
    code = request.form.get("code")
    if code:
        return _spend(services().stores, code)
    authenticator: Authenticator = current_app.extensions["feedsvc.authenticator"]
    token = request.form.get("token", "").strip()
    return authenticator.caller(Authorization("bearer", token=token))


def _spend(stores: Stores, code: str) -> Caller:
    """Return the caller that a link's code stands for, and make the code invalid."""
    found = cast("bytes | None", stores.redis.getdel(_key(code)))
    if found is None:
        raise Unauthorized(
            "This link has been used, or is older than an hour. "
            "The command python -m feedsvc console prints a new one.",
            given=True,
        )
    account, scopes = json.loads(found)
    return Caller(account, frozenset(scopes), int(time.time()) + _LINK_SECONDS)


def _key(code: str) -> str:
    return keys.console_code(hashlib.sha256(code.encode()).hexdigest())
