"""Sign in with an admin token or with a one-time link, and sign out.

The cookie is signed. The key of its signature is derived from the service's secret and a salt of
its own, so the cookie is not accepted as a token, nor a token as the cookie.

A session that began with a token ends with the token: each request verifies the token again.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from flask import Blueprint, current_app, g, redirect, render_template, request, url_for
from itsdangerous import BadData, URLSafeSerializer
from werkzeug.datastructures import Authorization

from feedsvc.api.operations import services
from feedsvc.api.problems import Unauthorized
from feedsvc.console import session as sessions
from feedsvc.errors import Forbidden

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

    from feedsvc.api.auth import Authenticator, Caller
    from feedsvc.console.session import Session

pages = Blueprint("signing_in", __name__)

COOKIE = "feedsvc_console"


@pages.get("/sign-in")
def page() -> str:
    """Show the form, also during a session: a link may be for another account."""
    return render_template("console/sign_in.html", error=None)


@pages.post("/sign-in")
def sign_in() -> Response | tuple[str, int]:
    """Exchange a token, or a link's code, for a session."""
    try:
        caller, token = _caller()
        begun = sessions.begin(services().stores, caller, token)
    except (Unauthorized, Forbidden) as error:
        return render_template("console/sign_in.html", error=str(error)), error.status
    answer = redirect(url_for("console.threshold.page"), 303)
    _set_cookie(answer, secret(), begun)
    return answer


@pages.post("/sign-out")
def sign_out() -> Response:
    """End the session, in every browser that has its cookie."""
    sessions.end(services().stores, g.session)
    answer = redirect(url_for("console.signing_in.page"), 303)
    answer.delete_cookie(COOKIE, path=_cookie_path(), httponly=True, samesite="Strict")
    return answer


def secret() -> str:
    """Return the secret that signs sessions. Raises `Forbidden` if the service has none."""
    found = services().jwt_secret
    if found is None:
        raise Forbidden(
            "The console needs FEEDSVC_JWT_SECRET, the same for every web process. "
            "Set it beside FEEDSVC_JWT_JWKS and start the service again."
        )
    return found


def read(request: Request, secret: str) -> Session | None:
    """Return the request's session.

    Return None if the cookie is missing or forged, or if the session or its token has ended.
    """
    try:
        account, ident = _serializer(secret).loads(request.cookies.get(COOKIE, ""))
    except (BadData, ValueError):
        return None
    found = sessions.find(services().stores, account, ident)
    if found is not None and found.token is not None:
        try:
            _verify(found.token)
        except Unauthorized:
            return None
    return found


def _caller() -> tuple[Caller, str | None]:
    """Return the caller for the code or the token in the form, and the token if there is one.

    Raises `Unauthorized`.
    """
    code = request.form.get("code")
    if not code:
        token = request.form.get("token", "").strip()
        return _verify(token), token
    caller = sessions.spend_link(services().stores, code)
    if caller is None:
        raise Unauthorized(
            "This link has been used, or is older than an hour. "
            "The command feedsvc console prints a new one.",
            given=True,
        )
    return caller, None


def _verify(token: str) -> Caller:
    authenticator: Authenticator = current_app.extensions["feedsvc.authenticator"]
    return authenticator.caller(Authorization("bearer", token=token))


def _set_cookie(answer: Response, secret: str, session: Session) -> None:
    """Set the session's cookie. No script can read it, and no other site can send it."""
    value = _serializer(secret).dumps([session.account, session.ident])
    answer.set_cookie(
        COOKIE,
        value,
        max_age=session.expires_at - int(time.time()),
        path=_cookie_path(),
        httponly=True,
        samesite="Strict",
        secure=_is_https(),
    )


def _cookie_path() -> str:
    """Return the path of the console as the browser sees it, with the prefix of a proxy."""
    return request.root_path + sessions.PATH


def _is_https() -> bool:
    """Return whether the browser uses HTTPS, as far as this server or a proxy says.

    The proxy's header is believed unchecked: a false one only makes the cookie stricter.
    """
    forwarded = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip()
    return request.is_secure or forwarded == "https"


def _serializer(secret: str) -> URLSafeSerializer:
    return URLSafeSerializer(
        secret,
        salt="feedsvc.console",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
