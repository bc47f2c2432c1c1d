"""Who is calling: a bearer token, judged before anything else of a request."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import jwt

from feedsvc.api.problems import Unauthorized
from feedsvc.errors import BadSettings, StoreUnavailable
from feedsvc.formats import parse_id

if TYPE_CHECKING:
    from jwt.types import Options
    from werkzeug.datastructures import Authorization

    from feedsvc.settings import Settings

SCOPES = ("feed", "service", "admin:read", "admin:write")

_LEEWAY_SECONDS = 5
_VERIFIED_SECONDS = 60
_VERIFIED_TOKENS = 20_000
_JWKS_ALGORITHMS = ("RS256", "ES256", "EdDSA")


@dataclass(frozen=True)
class Caller:
    """The account that a token speaks for, what it may do, and until when, in seconds since 1970."""

    account: int
    scopes: frozenset[str]
    expires_at: int

    @property
    def acts_for_anyone(self) -> bool:
        """Whether it is the app's backend."""
        return "service" in self.scopes


class _Keys(Protocol):
    """Where the key of a token comes from; the algorithm is the key's, never the token's word."""

    def key_of(self, token: str) -> tuple[Any, list[str]]:
        """The key and the one algorithm it is for. Raises `jwt.PyJWTError` if there is none."""


@dataclass(frozen=True)
class _Secret:
    secret: str

    def key_of(self, token: str) -> tuple[Any, list[str]]:  # noqa: ARG002 -- one key for all
        return self.secret, ["HS256"]


@dataclass(frozen=True)
class _KeySet:
    keys: jwt.PyJWKSet

    def key_of(self, token: str) -> tuple[Any, list[str]]:
        kid = jwt.get_unverified_header(token).get("kid")
        fitting = [key for key in self.keys.keys if kid in (None, key.key_id)]
        if len(fitting) != 1:
            raise jwt.InvalidKeyError("no key fits the token's kid")
        return _pinned(fitting[0])


@dataclass(frozen=True)
class _KeySetByUrl:
    client: jwt.PyJWKClient

    def key_of(self, token: str) -> tuple[Any, list[str]]:
        try:
            return _pinned(self.client.get_signing_key_from_jwt(token))
        except jwt.PyJWKClientConnectionError as error:
            raise StoreUnavailable("key server") from error


class _Verified:
    """The callers of tokens that were verified within the last minute: so long a key that was revoked counts a little longer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By digest, so that no token lies about in memory; the latest last.
        self._callers: dict[bytes, tuple[Caller, float]] = {}

    def find(self, token: str) -> Caller | None:
        """The caller, if the token was verified lately and has not expired since."""
        caller, until = self._callers.get(_digest(token), (None, 0.0))
        return caller if time.time() < until else None

    def keep(self, token: str, caller: Caller) -> Caller:
        """Remember who that is; of very many, those that were verified first are forgotten."""
        until = min(time.time() + _VERIFIED_SECONDS, caller.expires_at + _LEEWAY_SECONDS)
        with self._lock:
            self._callers.pop(_digest(token), None)
            self._callers[_digest(token)] = caller, until
            if len(self._callers) > _VERIFIED_TOKENS:
                del self._callers[next(iter(self._callers))]
        return caller


class Authenticator:
    """Turns an `Authorization` header into a caller."""

    def __init__(self, settings: Settings, secret: str) -> None:
        """With a JWKS if one is set, else with the secret. Raises `BadSettings`."""
        self._keys = _keys(settings.jwt_jwks, secret)
        self._verified = _Verified()

    def caller(self, authorization: Authorization | None) -> Caller:
        """The caller. Raises `Unauthorized`."""
        if authorization is None or authorization.type != "bearer" or not authorization.token:
            raise Unauthorized("A bearer token is needed: Authorization: Bearer <JWT>", given=False)
        known = self._verified.find(authorization.token)
        return known or self._verified.keep(authorization.token, self._verify(authorization.token))

    def _verify(self, token: str) -> Caller:
        claims = self._claims(token)
        account = parse_id(claims["sub"])
        if account is None:
            raise Unauthorized("The token's sub is not an account id", given=True)
        scope = claims["scope"]
        if not isinstance(scope, str):
            raise Unauthorized("The token's scope is not a string", given=True)
        return Caller(account, frozenset(scope.split(" ")), int(claims["exp"]))

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            key, algorithms = self._keys.key_of(token)
            required: Options = {
                "require": ["sub", "scope", "exp"],
                "verify_aud": False,
                "verify_iat": False,
            }
            return jwt.decode(
                token, key, algorithms=algorithms, leeway=_LEEWAY_SECONDS, options=required
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired", given=True) from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthorized(f"The token lacks the claim {error.claim}", given=True) from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthorized("The token is not valid", given=True) from None


def _keys(jwks: str | None, secret: str) -> _Keys:
    if jwks is None:
        return _Secret(secret)
    if jwks.startswith(("http://", "https://")):
        return _KeySetByUrl(jwt.PyJWKClient(jwks, timeout=3))
    try:
        return _KeySet(jwt.PyJWKSet.from_dict(json.loads(Path(jwks).read_text())))
    except (OSError, ValueError, jwt.PyJWTError) as error:
        raise BadSettings({"jwt_jwks": [f"cannot be read as a JWKS file: {error}"]}) from None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _pinned(key: jwt.PyJWK) -> tuple[Any, list[str]]:
    if key.algorithm_name not in _JWKS_ALGORITHMS:
        raise jwt.InvalidKeyError("the key is for another algorithm")
    return key.key, [key.algorithm_name]
