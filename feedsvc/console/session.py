"""Sign in with an admin token or with a one-time link, keep the session, and sign out.

A session is a signed cookie with the scopes of an admin token. It lasts an hour at most. The key of
its signature is derived from the service's secret and a salt of its own, so the cookie is not
accepted as a token, nor a token as the cookie.

A link carries its code after the `#`, so that the code reaches no server's log and no other site.
Redis stores only the code's digest.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from itsdangerous import BadData, URLSafeSerializer
from werkzeug.datastructures import Authorization

from feedsvc.api.auth import Caller
from feedsvc.api.operations import services
from feedsvc.api.problems import Unauthorized
from feedsvc.errors import Forbidden
from feedsvc.store.redis import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask import Request
    from werkzeug.wrappers import Response

    from feedsvc.api.auth import Authenticator
    from feedsvc.store import Stores

pages = Blueprint("signing_in", __name__)

COOKIE = "feedsvc_console"
PATH = "/console"

_LONGEST_SECONDS = 3_600
_LINK_SECONDS = 3_600
_SCOPES = {"admin:read", "admin:write"}


@dataclass(frozen=True)
class Session:
    """An account, its admin scopes, and the secret that its forms carry.

    `expires_at` is in seconds since 1970.
    """

    account: int
    scopes: tuple[str, ...]
    csrf_token: str
    expires_at: int

    @property
    def may_write(self) -> bool:
        """Return whether the session may change anything."""
        return "admin:write" in self.scopes


def one_time_link(stores: Stores, url: str, account: int, scopes: Iterable[str]) -> str:
    """Return a link to the console at `url` that signs in its first user, within an hour."""
    code = secrets.token_urlsafe(24)
    stores.redis.set(_key(code), json.dumps([account, sorted(scopes)]), ex=_LINK_SECONDS)
    return f"{url}{PATH}/sign-in#{code}"


@pages.get("/sign-in")
def page() -> str:
    """Show the form, also during a session: a link may be for another account."""
    return render_template("console/sign_in.html", error=None)


@pages.post("/sign-in")
def sign_in() -> Response | tuple[str, int]:
    """Exchange a token, or a link's code, for a session."""
    try:
        begun = _begin(_caller())
    except (Unauthorized, Forbidden) as error:
        return render_template("console/sign_in.html", error=str(error)), error.status
    answer = redirect(url_for("console.threshold.page"), 303)
    _set_cookie(answer, secret(), begun)
    return answer


@pages.post("/sign-out")
def sign_out() -> Response:
    """End the session."""
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
    """Return the request's session; None if its cookie is missing, forged or expired."""
    try:
        account, scopes, csrf_token, expires_at = _serializer(secret).loads(
            request.cookies.get(COOKIE, "")
        )
    except BadData:
        return None
    if time.time() >= expires_at:
        return None
    return Session(account, tuple(scopes), csrf_token, expires_at)


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
            "The command feedsvc console prints a new one.",
            given=True,
        )
    account, scopes = json.loads(found)
    return Caller(account, frozenset(scopes), int(time.time()) + _LINK_SECONDS)


def _key(code: str) -> str:
    return keys.console_code(hashlib.sha256(code.encode()).hexdigest())


def _begin(caller: Caller) -> Session:
    """Return a session with the caller's admin scopes. Raises `Forbidden` if it has none.

    The session ends with the caller's token, and after an hour at the latest.
    """
    scopes = tuple(sorted(caller.scopes & _SCOPES))
    if not scopes:
        raise Forbidden(
            "This token does not open the console. "
            "Use a token with the scope admin:read (to read) or admin:write (to change)."
        )
    return Session(
        caller.account,
        scopes,
        secrets.token_urlsafe(24),
        min(caller.expires_at, int(time.time()) + _LONGEST_SECONDS),
    )


def _set_cookie(answer: Response, secret: str, session: Session) -> None:
    """Set the session's cookie. No script can read it, and no other site can send it."""
    value = _serializer(secret).dumps(
        [session.account, session.scopes, session.csrf_token, session.expires_at]
    )
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
    return request.root_path + PATH


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
