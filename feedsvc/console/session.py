"""Sign in with an admin token or with a one-time link, keep the session, and sign out.

Redis stores each session for at most an hour. The cookie holds the session's id. Signing out
removes the session, so that copies of the cookie stop working. `revoke` removes all sessions and
links of an account.

A session that began with a token ends with the token: each request verifies the token again. Redis
stores the token encrypted with a key that is derived from the session's id. Only the cookie holds
the id.

The cookie is signed. The key of its signature is derived from the service's secret and a salt of
its own, so the cookie is not accepted as a token, nor a token as the cookie.

A link carries its code after the `#`. Browsers do not send that part, so the code reaches no log
and no other site. Redis stores only the digests of ids and codes. A flushed Redis ends all
sessions.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from cryptography.fernet import Fernet
from flask import Blueprint, current_app, g, redirect, render_template, request, url_for
from itsdangerous import BadData, URLSafeSerializer
from werkzeug.datastructures import Authorization

from feedsvc.api.auth import Caller
from feedsvc.api.operations import services
from feedsvc.api.problems import Unauthorized
from feedsvc.errors import Forbidden
from feedsvc.formats import parse_id
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
    """A session of the console. `expires_at` is in seconds since 1970.

    The cookie carries the secret `ident`. Forms carry the secret `csrf_token`.
    """

    account: int
    ident: str
    scopes: tuple[str, ...]
    csrf_token: str
    expires_at: int

    @property
    def may_write(self) -> bool:
        """Return whether the session may change anything."""
        return "admin:write" in self.scopes


def one_time_link(stores: Stores, url: str, account: int, scopes: Iterable[str]) -> str:
    """Return a link to the console at `url`. It signs in one user, once, within an hour."""
    code = secrets.token_urlsafe(24)
    link = {"scopes": sorted(scopes), "expires_at": int(time.time()) + _LINK_SECONDS}
    _store(stores, account, f"link:{_digest(code)}", link)
    return f"{url}{PATH}/sign-in#{account}.{code}"


def revoke(stores: Stores, account: int) -> None:
    """End all sessions of the account, and make its links invalid."""
    stores.redis.delete(keys.console(account))


@pages.get("/sign-in")
def page() -> str:
    """Show the form, also during a session: a link may be for another account."""
    return render_template("console/sign_in.html", error=None)


@pages.post("/sign-in")
def sign_in() -> Response | tuple[str, int]:
    """Exchange a token, or a link's code, for a session."""
    try:
        caller, token = _caller()
        begun = _begin(services().stores, caller, token)
    except (Unauthorized, Forbidden) as error:
        return render_template("console/sign_in.html", error=str(error)), error.status
    answer = redirect(url_for("console.threshold.page"), 303)
    _set_cookie(answer, secret(), begun)
    return answer


@pages.post("/sign-out")
def sign_out() -> Response:
    """End the session, in every browser that has its cookie."""
    session: Session = g.session
    services().stores.redis.hdel(keys.console(session.account), _digest(session.ident))
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
    found = _stored(services().stores, account, _digest(ident))
    if found is None or (found["token"] and not _is_still_valid(found["token"], ident)):
        return None
    return Session(account, ident, tuple(found["scopes"]), found["csrf"], found["expires_at"])


def _caller() -> tuple[Caller, str | None]:
    """Return the caller for the code or the token in the form, and the token if there is one.

    Raises `Unauthorized`.
    """
    code = request.form.get("code")
    if code:
        return _spend(services().stores, code), None
    token = request.form.get("token", "").strip()
    return _verify(token), token


def _verify(token: str) -> Caller:
    authenticator: Authenticator = current_app.extensions["feedsvc.authenticator"]
    return authenticator.caller(Authorization("bearer", token=token))


def _is_still_valid(encrypted: str, ident: str) -> bool:
    """Return whether the token has not expired and its key is still accepted."""
    try:
        _verify(_cipher(ident).decrypt(encrypted).decode())
    except Unauthorized:
        return False
    return True


def _spend(stores: Stores, code: str) -> Caller:
    """Return the caller for the code of a link, and invalidate the code."""
    account_text, _, secret_part = code.partition(".")
    account, field = parse_id(account_text), f"link:{_digest(secret_part)}"
    found = None if account is None else _stored(stores, account, field)
    if account is None or found is None or not stores.redis.hdel(keys.console(account), field):
        raise Unauthorized(
            "This link has been used, or is older than an hour. "
            "The command feedsvc console prints a new one.",
            given=True,
        )
    return Caller(account, frozenset(found["scopes"]), int(time.time()) + _LINK_SECONDS)


def _store(stores: Stores, account: int, field: str, value: dict[str, Any]) -> None:
    """Store a session or a link of the account. Remove its expired sessions and links."""
    key, now = keys.console(account), time.time()
    entries = cast("dict[bytes, bytes]", stores.redis.hgetall(key))
    expired = [name for name, each in entries.items() if json.loads(each)["expires_at"] <= now]
    if expired:
        stores.redis.hdel(key, *expired)
    stores.redis.hset(key, field, json.dumps(value))
    stores.redis.expire(key, _LONGEST_SECONDS)


def _stored(stores: Stores, account: int, field: str) -> dict[str, Any] | None:
    """Return a session or a link of the account; None if it was removed or has expired."""
    raw = cast("bytes | None", stores.redis.hget(keys.console(account), field))
    found: dict[str, Any] | None = None if raw is None else json.loads(raw)
    return found if found is not None and time.time() < found["expires_at"] else None


def _digest(secret_part: str) -> str:
    return hashlib.sha256(secret_part.encode()).hexdigest()


def _cipher(ident: str) -> Fernet:
    key = hashlib.sha256(b"feedsvc.console token " + ident.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def _begin(stores: Stores, caller: Caller, token: str | None) -> Session:
    """Begin a session with the caller's admin scopes. Raises `Forbidden` if it has none.

    The session ends with the caller's token, and after an hour at the latest.
    """
    scopes = tuple(sorted(caller.scopes & _SCOPES))
    if not scopes:
        raise Forbidden(
            "This token does not open the console. "
            "Use a token with the scope admin:read (to read) or admin:write (to change)."
        )
    begun = Session(
        caller.account,
        secrets.token_urlsafe(24),
        scopes,
        secrets.token_urlsafe(24),
        min(caller.expires_at, int(time.time()) + _LONGEST_SECONDS),
    )
    value = {
        "scopes": scopes,
        "csrf": begun.csrf_token,
        "expires_at": begun.expires_at,
        "token": token and _cipher(begun.ident).encrypt(token.encode()).decode(),
    }
    _store(stores, begun.account, _digest(begun.ident), value)
    return begun


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
