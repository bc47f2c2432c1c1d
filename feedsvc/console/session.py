"""The session after signing in: a signed cookie with the scopes of an admin token.

It lasts an hour at most. The key of its signature is derived from the service's secret and a salt
of its own, so the cookie is not accepted as a token, nor a token as the cookie.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from itsdangerous import BadData, URLSafeSerializer

from feedsvc.errors import Forbidden

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

    from feedsvc.api.auth import Caller

COOKIE = "feedsvc_console"
PATH = "/console"

_LONGEST_SECONDS = 3_600
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


def begin(caller: Caller) -> Session:
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


def write(answer: Response, request: Request, secret: str, session: Session) -> None:
    """Set the session's cookie. No script can read it, and no other site can send it."""
    value = _serializer(secret).dumps(
        [session.account, session.scopes, session.csrf_token, session.expires_at]
    )
    answer.set_cookie(
        COOKIE,
        value,
        max_age=session.expires_at - int(time.time()),
        path=PATH,
        httponly=True,
        samesite="Strict",
        secure=_is_https(request),
    )


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


def end(answer: Response) -> None:
    """Delete the cookie."""
    answer.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="Strict")


def _is_https(request: Request) -> bool:
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
