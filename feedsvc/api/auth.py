"""Authentication: turn a bearer token into a caller, before anything else of a request is read."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from feedsvc import jwks
from feedsvc.api.problems import Unauthorized
from feedsvc.formats import ACCEPTED_ID, parse_id
from feedsvc.jwks import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jwt.types import Options
    from werkzeug.datastructures import Authorization

    from feedsvc.settings import Settings

SCOPES = ("feed", "service", "admin:read", "admin:write")

_LEEWAY_SECONDS = 5
_CACHE_SECONDS = 60
_CACHED_TOKENS = 20_000


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

    Within this minute a token is accepted even if its key was revoked.
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

    def __init__(self, settings: Settings, secret: str | None) -> None:
        """Use the JWKS of the settings as keys, else the secret and the old secrets."""
        self._find_keys = _key_finder(settings, secret)
        self._audience, self._issuer = settings.jwt_audience, settings.jwt_issuer
        required = ["sub", "scope", "exp"]
        required += ["aud"] * (self._audience is not None) + ["iss"] * (self._issuer is not None)
        self._options: Options = {
            "require": required,
            "verify_aud": self._audience is not None,
            "verify_iat": False,
        }
        self._cache = _CallerCache()

    def caller(self, authorization: Authorization | None) -> Caller:
        """Return the caller.

        Raises `Unauthorized`, or `StoreUnavailable` if the key cannot be fetched now.
        """
        if authorization is None or authorization.type != "bearer" or not authorization.token:
            raise Unauthorized(
                "A bearer token is needed. Send Authorization: Bearer <JWT>.", given=False
            )
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
            raise Unauthorized(f"The token's sub is no account id. {ACCEPTED_ID}", given=True)
        if not isinstance(scope, str):
            raise Unauthorized(
                "The token's scope must be scopes in one string, separated by spaces.", given=True
            )
        return Caller(account, frozenset(scope.split(" ")), int(claims["exp"]))

    def _claims(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that one of the matching keys verifies."""
        try:
            for key in self._find_keys(token):
                with suppress(jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
                    return jwt.decode(
                        token,
                        key.key,
                        # The algorithm comes from the key, never from the token.
                        algorithms=[key.algorithm],
                        audience=self._audience,
                        issuer=self._issuer,
                        leeway=_LEEWAY_SECONDS,
                        options=self._options,
                    )
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired.", given=True) from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthorized(f"The token lacks the claim {error.claim}.", given=True) from None
        except jwt.InvalidAudienceError:
            raise Unauthorized("The token is for another audience.", given=True) from None
        except jwt.InvalidIssuerError:
            raise Unauthorized("The token is from another issuer.", given=True) from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            pass
        raise Unauthorized(
            "The token is damaged, not valid yet, or signed with another key.", given=True
        )


def sign(settings: Settings, secret: str, account: int, scopes: Iterable[str], ttl: int) -> str:
    """Return a token that is signed with `secret` and valid for `ttl` seconds."""
    issued_at = int(time.time())
    claims = {
        "sub": str(account),
        "scope": " ".join(scopes),
        "iat": issued_at,
        "exp": issued_at + ttl,
        "aud": settings.jwt_audience,
        "iss": settings.jwt_issuer,
    }
    given = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(given, secret, "HS256")


def _key_finder(settings: Settings, secret: str | None) -> Callable[[str], list[Key]]:
    """Return a function that finds the keys that may have signed a token."""
    if settings.jwt_jwks is None:
        assert secret is not None, "without a JWKS the settings require a secret"
        keys = [Key(None, each, "HS256") for each in (secret, *settings.jwt_secrets_old)]
        return lambda _token: keys
    address = settings.jwt_jwks
    source = jwks.KeyServer(address) if jwks.is_url(address) else jwks.read(address)
    return lambda token: source.matching(jwt.get_unverified_header(token).get("kid"))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
