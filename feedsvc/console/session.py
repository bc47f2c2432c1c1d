"""Who is signed in to the console: a signed cookie that holds what an admin token gave, for an hour at most.

The signature's key is derived from the service's secret and a salt of its own: the cookie is no token, and a token is no cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from itsdangerous import BadData, URLSafeSerializer

from feedsvc.errors import Forbidden

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

    from feedsvc.api.auth import Caller

COOKIE = "feedsvc_console"
FIELD = "csrf_token"
PATH = "/console"

_LONGEST_SECONDS = 3_600
_READING = {"admin:read", "admin:write"}


class NoAdministrator(Forbidden):
    """A token that counts and may not look at anything here."""

    def __init__(self) -> None:
        super().__init__(
            "This token's scope does not allow the console; it takes admin:read to look, admin:write to change."
        )


@dataclass(frozen=True)
class Session:
    """The account that a person acts as, what it may do, and the secret that its forms carry. `expires_at`: seconds since 1970."""

    account: int
    scopes: tuple[str, ...]
    csrf_token: str
    expires_at: int

    @property
    def may_write(self) -> bool:
        """Whether it may change anything."""
        return "admin:write" in self.scopes


def begin(caller: Caller) -> Session:
    """A session with the caller's scopes, which ends with its token, after an hour at the latest. Raises `NoAdministrator`."""
    scopes = tuple(sorted(caller.scopes & _READING))
    if not scopes:
        raise NoAdministrator
    return Session(
        caller.account,
        scopes,
        secrets.token_urlsafe(24),
        min(caller.expires_at, int(time.time()) + _LONGEST_SECONDS),
    )


def write(answer: Response, request: Request, secret: str, session: Session) -> None:
    """Give the browser the session's cookie, which no script can read and no other site can send."""
    value = _serializer(secret).dumps(
        [session.account, session.scopes, session.csrf_token, session.expires_at]
    )
    left = session.expires_at - int(time.time())
    answer.set_cookie(
        COOKIE,
        value,
        max_age=left,
        path=PATH,
        httponly=True,
        samesite="Strict",
        secure=_is_https(request),
    )


def read(request: Request, secret: str) -> Session | None:
    """The session that the request carries, if one counts."""
    try:
        account, scopes, csrf_token, expires_at = _serializer(secret).loads(
            request.cookies.get(COOKIE, "")
        )
    except BadData:
        return None
    return (
        Session(account, tuple(scopes), csrf_token, expires_at)
        if time.time() < expires_at
        else None
    )


def end(answer: Response) -> None:
    """Take the cookie back."""
    answer.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="Strict")


def require_own_page(request: Request, session: Session | None) -> None:
    """Whether one of our own pages sent this change: by the browser's word, and by the session's secret. Raises `Forbidden`."""
    if not _is_same_origin(request):
        raise Forbidden(
            "This change did not come from a page of this console. Open the console, and try again there."
        )
    given = request.form.get(FIELD, "")
    if session is not None and not hmac.compare_digest(given.encode(), session.csrf_token.encode()):
        raise Forbidden("This page belongs to an earlier session. Load it again, and try again.")


def _is_same_origin(request: Request) -> bool:
    """By Fetch Metadata, which browsers send to https and to localhost; else by Origin, which they send with every form."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return urlsplit(request.headers.get("Origin", "")).netloc == request.host


def _is_https(request: Request) -> bool:
    """What a proxy in front says counts too: a false word only makes the cookie stricter."""
    return (
        request.is_secure
        or request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip() == "https"
    )


def _serializer(secret: str) -> URLSafeSerializer:
    return URLSafeSerializer(
        secret,
        salt="feedsvc.console",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
