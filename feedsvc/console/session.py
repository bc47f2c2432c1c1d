"""Keep the sessions and the one-time links of the console in Redis, for at most an hour.

The cookie holds the session's id. Ending a session removes it, so that copies of the cookie stop
working. `revoke` removes all sessions and links of an account. A flushed Redis ends all sessions.

A session may have begun with a token. Redis stores the token encrypted with a key that is derived
from the session's id. Of ids and of the codes of links, Redis stores only digests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from cryptography.fernet import Fernet

from feedsvc.api.auth import Caller
from feedsvc.errors import Forbidden
from feedsvc.formats import parse_id
from feedsvc.store.redis import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feedsvc.store import Stores

PATH = "/console"

_LONGEST_SECONDS = 3_600
_LINK_SECONDS = 3_600
_SCOPES = {"admin:read", "admin:write"}


@dataclass(frozen=True)
class Session:
    """A session of the console. `expires_at` is in seconds since 1970.

    The cookie carries the secret `ident`. Forms carry the secret `csrf_token`. `token` is the token
    that the session began with; None if it began with a link.
    """

    account: int
    ident: str
    scopes: tuple[str, ...]
    csrf_token: str
    expires_at: int
    token: str | None = field(default=None, repr=False)

    @property
    def may_write(self) -> bool:
        """Return whether the session may change anything."""
        return "admin:write" in self.scopes


def one_time_link(stores: Stores, url: str, account: int, scopes: Iterable[str]) -> str:
    """Return a link to the console at `url`. It signs in one user, once, within an hour.

    The code stands after the `#`. Browsers do not send that part, so the code reaches no log and no
    other site.
    """
    code = secrets.token_urlsafe(24)
    link = {"scopes": sorted(scopes), "expires_at": int(time.time()) + _LINK_SECONDS}
    _store(stores, account, f"link:{_digest(code)}", link)
    return f"{url}{PATH}/sign-in#{account}.{code}"


def spend_link(stores: Stores, code: str) -> Caller | None:
    """Return the caller for the code of a link, and invalidate the code. None if it is invalid."""
    account_text, _, secret_part = code.partition(".")
    account, name = parse_id(account_text), f"link:{_digest(secret_part)}"
    found = None if account is None else _stored(stores, account, name)
    if account is None or found is None or not stores.redis.hdel(keys.console(account), name):
        return None
    return Caller(account, frozenset(found["scopes"]), int(time.time()) + _LINK_SECONDS)


def begin(stores: Stores, caller: Caller, token: str | None) -> Session:
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
        token,
    )
    value = {
        "scopes": scopes,
        "csrf": begun.csrf_token,
        "expires_at": begun.expires_at,
        "token": token and _cipher(begun.ident).encrypt(token.encode()).decode(),
    }
    _store(stores, begun.account, _digest(begun.ident), value)
    return begun


def find(stores: Stores, account: int, ident: str) -> Session | None:
    """Return a session; None if it has ended."""
    found = _stored(stores, account, _digest(ident))
    if found is None:
        return None
    encrypted = found["token"]
    token = encrypted and _cipher(ident).decrypt(encrypted).decode()
    scopes = tuple(found["scopes"])
    return Session(account, ident, scopes, found["csrf"], found["expires_at"], token)


def end(stores: Stores, session: Session) -> None:
    """End a session, in every browser that has its cookie."""
    stores.redis.hdel(keys.console(session.account), _digest(session.ident))


def revoke(stores: Stores, account: int) -> None:
    """End all sessions of the account, and make its links invalid."""
    stores.redis.delete(keys.console(account))


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
