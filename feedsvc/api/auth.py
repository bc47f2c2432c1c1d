"""Authentication: turn a bearer token into a caller, before anything else of a request is read."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt

from feedsvc.api.problems import Unauthorized
from feedsvc.errors import BadSettings, StoreUnavailable
from feedsvc.formats import parse_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from jwt.types import Options
    from werkzeug.datastructures import Authorization

    from feedsvc.settings import Settings

SCOPES = ("feed", "service", "admin:read", "admin:write")

_LEEWAY_SECONDS = 5
_CACHE_SECONDS = 60
_CACHED_TOKENS = 20_000
_JWKS_TIMEOUT_SECONDS = 3
_JWKS_ALGORITHMS = ("RS256", "ES256", "EdDSA")


@dataclass(frozen=True)
class Caller:
    """The account of a token, the scopes that it has, and its expiry in seconds since 1970."""

    account: int
    scopes: frozenset[str]
    expires_at: int

    @property
    def acts_for_anyone(self) -> bool:
        """Return whether the caller is the app's backend."""
        return "service" in self.scopes


class _CallerCache:
    """The callers of tokens that were verified within the last minute.

    For this minute a token counts although its key was revoked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By the digest of the token, so that no token stays in memory. Newest last.
        self._callers: dict[bytes, tuple[Caller, float]] = {}

    def get(self, token: str) -> Caller | None:
        """Return the caller of a token that was verified within a minute and has not expired."""
        caller, until = self._callers.get(_digest(token), (None, 0.0))
        return caller if time.time() < until else None

    def put(self, token: str, caller: Caller) -> None:
        """Store a caller. A full cache drops the caller that was verified first."""
        until = min(time.time() + _CACHE_SECONDS, caller.expires_at + _LEEWAY_SECONDS)
        with self._lock:
            self._callers.pop(_digest(token), None)
            self._callers[_digest(token)] = caller, until
            if len(self._callers) > _CACHED_TOKENS:
                del self._callers[next(iter(self._callers))]


class Authenticator:
    """Turns an `Authorization` header into a caller."""

    def __init__(self, settings: Settings, secret: str) -> None:
        """Use the JWKS of the settings, else the secret, as keys. Raises `BadSettings`."""
        self._find_key = _key_finder(settings.jwt_jwks, secret)
        self._cache = _CallerCache()

    def caller(self, authorization: Authorization | None) -> Caller:
        """Return the caller. Raises `Unauthorized`."""
        if authorization is None or authorization.type != "bearer" or not authorization.token:
            raise Unauthorized("A bearer token is needed: Authorization: Bearer <JWT>", given=False)
        token = authorization.token
        caller = self._cache.get(token)
        if caller is None:
            caller = self._verify(token)
            self._cache.put(token, caller)
        return caller

    def _verify(self, token: str) -> Caller:
        claims = self._claims(token)
        account, scope = parse_id(claims["sub"]), claims["scope"]
        if account is None:
            raise Unauthorized("The token's sub is not an account id", given=True)
        if not isinstance(scope, str):
            raise Unauthorized("The token's scope is not a string", given=True)
        return Caller(account, frozenset(scope.split(" ")), int(claims["exp"]))

    def _claims(self, token: str) -> dict[str, Any]:
        required: Options = {
            "require": ["sub", "scope", "exp"],
            "verify_aud": False,
            "verify_iat": False,
        }
        try:
            key, algorithm = self._find_key(token)
            return jwt.decode(
                token, key, algorithms=[algorithm], leeway=_LEEWAY_SECONDS, options=required
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired", given=True) from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthorized(f"The token lacks the claim {error.claim}", given=True) from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthorized("The token is not valid", given=True) from None


def _key_finder(jwks: str | None, secret: str) -> Callable[[str], tuple[Any, str]]:
    """Return a function that finds a token's key, and the one algorithm the key is for.

    The algorithm comes from the key and never from the token. The function raises `jwt.PyJWTError`
    if no key fits, and `StoreUnavailable` if the key server does not answer.
    """
    if jwks is None:
        return lambda _token: (secret, "HS256")
    if jwks.startswith(("http://", "https://")):
        client = jwt.PyJWKClient(jwks, timeout=_JWKS_TIMEOUT_SECONDS)
        return lambda token: _fetch_key(client, token)
    try:
        keys = jwt.PyJWKSet.from_dict(json.loads(Path(jwks).read_text())).keys
    except (OSError, ValueError, jwt.PyJWTError) as error:
        raise BadSettings({"jwt_jwks": [f"cannot be read as a JWKS file: {error}"]}) from None
    return lambda token: _select_key(keys, token)


def _fetch_key(client: jwt.PyJWKClient, token: str) -> tuple[Any, str]:
    try:
        return _with_algorithm(client.get_signing_key_from_jwt(token))
    except jwt.PyJWKClientConnectionError as error:
        raise StoreUnavailable("key server") from error


def _select_key(keys: list[jwt.PyJWK], token: str) -> tuple[Any, str]:
    kid = jwt.get_unverified_header(token).get("kid")
    fitting = [key for key in keys if kid in (None, key.key_id)]
    if len(fitting) != 1:
        raise jwt.InvalidKeyError("no key fits the token's kid")
    return _with_algorithm(fitting[0])


def _with_algorithm(key: jwt.PyJWK) -> tuple[Any, str]:
    if key.algorithm_name not in _JWKS_ALGORITHMS:
        raise jwt.InvalidKeyError("the key is for another algorithm")
    return key.key, key.algorithm_name


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
