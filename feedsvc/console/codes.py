"""One-time codes: a link signs its reader in, once, without anybody copying a token.

The code stands behind the `#` of the link, so that it reaches no server's log and no other site; Redis knows only its digest.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from typing import TYPE_CHECKING, cast

from feedsvc.api.auth import Caller
from feedsvc.api.problems import Unauthorized
from feedsvc.console.session import PATH
from feedsvc.store.redis import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feedsvc.store import Stores

LIFETIME_SECONDS = 3_600


def link(stores: Stores, url: str, account: int, scopes: Iterable[str]) -> str:
    """A link to the console at this address that signs its first reader in as the account, within an hour."""
    code = secrets.token_urlsafe(24)
    stores.redis.set(_key(code), json.dumps([account, sorted(scopes)]), ex=LIFETIME_SECONDS)
    return f"{url}{PATH}/sign-in#{code}"


def spend(stores: Stores, code: str) -> Caller:
    """Whom the code stands for; it is no good any more. Raises `Unauthorized`."""
    found = cast("bytes | None", stores.redis.getdel(_key(code)))
    if found is None:
        raise Unauthorized(
            "This link has been used, or is too old. The command python -m feedsvc console prints another one.",
            given=True,
        )
    account, scopes = json.loads(found)
    return Caller(account, frozenset(scopes), int(time.time()) + LIFETIME_SECONDS)


def _key(code: str) -> str:
    return keys.console_code(hashlib.sha256(code.encode()).hexdigest())
