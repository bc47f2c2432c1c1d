"""The settings of the service, read from the environment in one place.

The variable `FEEDSVC_FEED_CAP` is the field `feed_cap` here and the keyword `feed_cap` of
`create_app`. `docs/settings.md` documents each setting; a test fails when one is missing there.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import structlog
from marshmallow import (
    RAISE,
    Schema,
    ValidationError,
    fields,
    post_load,
    validates_schema,
)

from feedsvc import addresses, jwks, redis_address
from feedsvc.errors import BadSettings
from feedsvc.formats import MAX_ID, is_host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "FEEDSVC_"

# Threads of one web process that call Flask. A store that hangs may hold at most half of them.
REQUEST_THREADS = 8

_DIGITS = re.compile(r"[0-9]{1,19}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
# The shortest secret of HS256 tokens: as long as the digest.
SHORTEST_SECRET = 32
# With a database of several hosts a generated secret would differ from host to host.
_SECRET_REQUIRED = (
    f"is required with FEEDSVC_DATABASE_URL: at least {SHORTEST_SECRET} characters, the same for "
    "every process that signs or verifies tokens; or set FEEDSVC_JWT_JWKS"
)
# The largest value of a number that has no other limit.
_MOST = 2**31 - 1

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process. None means the embedded part, or the key of the data folder."""

    data_dir: Path = Path(".feedsvc")
    database_url: str | None = None
    database_connect_seconds: int = 3
    database_pool_seconds: int = 2
    database_statement_seconds: int = 5
    database_work_seconds: int = 900
    database_silence_seconds: int = 10
    redis_url: str | None = None
    broker_url: str | None = None
    jwt_secret: str | None = None
    jwt_secrets_old: tuple[str, ...] = ()
    jwt_jwks: str | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    feed_cap: int = 800
    feed_slack: int = 100
    feed_ttl_seconds: int = 2_592_000
    fanout_batch: int = 10_000
    fanout_slice: int = 250
    promote_at: int = 100_000
    demote_at: int = 80_000
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: int = 0
    public_url: str | None = None

    @property
    def longest_list(self) -> int:
        """Return the number of ids at which a list is trimmed to `feed_cap`."""
        return self.feed_cap + self.feed_slack


class _CommaSeparated(fields.Field[tuple[str, ...]]):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(each, str) for each in parts):
            raise ValidationError("must be texts, separated by commas")
        return tuple(part.strip() for part in parts if part.strip())


def _check_origins(origins: tuple[str, ...]) -> None:
    """Raise `ValidationError` for a text that no browser sends as `Origin`: it never matches."""
    for origin in origins:
        if origin != "*" and not _is_origin(origin):
            raise ValidationError(
                f"{origin} is no origin: give a scheme and a host in lower case, and a port that "
                "is not the default one, without a slash at the end, like https://app.example"
            )


def _is_origin(text: str) -> bool:
    scheme, _, host = text.partition("://")
    has_default_port = host.endswith(_DEFAULT_PORTS.get(scheme, "/"))
    return (
        _SCHEME.fullmatch(scheme) is not None
        and is_host(host)
        and host == host.lower()
        and not has_default_port
    )


class _PublicUrl(fields.Field[str]):
    """An http(s) URL of a scheme, a host and a path. A slash at its end is left out."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str:
        text = str(value).rstrip("/")
        scheme, _separator, rest = text.partition("://")
        host, slash, path = rest.partition("/")
        if scheme not in _DEFAULT_PORTS or not is_host(host) or not _PREFIX.fullmatch(slash + path):
            raise ValidationError(
                "must be an http or https URL of a host and a path prefix, like "
                "https://app.example or https://app.example/feeds"
            )
        return text


class _Path(fields.Field[Path]):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> Path:
        try:
            return Path(value).expanduser()
        except (TypeError, RuntimeError):
            raise ValidationError("must be a path") from None


class _Url(fields.String):
    """A URL that `check` accepts. `check` raises `ValueError` for any other."""

    def __init__(self, check: Callable[[str], object]) -> None:
        super().__init__(allow_none=True)
        self._check = check

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **more)
        try:
            self._check(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return text


def _check_secrets(secrets: str | tuple[str, ...]) -> None:
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        if len(secret) < SHORTEST_SECRET:
            raise ValidationError(f"must have at least {SHORTEST_SECRET} characters")


class _WholeNumber(fields.Field[int]):
    def __init__(self, *, least: int = 1, most: int = _MOST) -> None:
        super().__init__()
        self._accepted = range(least, most + 1)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> int:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if is_number or (isinstance(value, str) and _DIGITS.fullmatch(value.strip())):
            number = int(value)
            if number in self._accepted:
                return number
        least, most = self._accepted[0], self._accepted[-1]
        raise ValidationError(f"must be a whole number from {least} to {most}")


class _SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "is no setting"}  # noqa: RUF012 -- as marshmallow declares it

    data_dir = _Path()
    database_url = _Url(addresses.complete_database)
    database_connect_seconds = _WholeNumber(least=2, most=3600)
    database_pool_seconds = _WholeNumber(most=86_400)
    database_statement_seconds = _WholeNumber(most=86_400)
    database_work_seconds = _WholeNumber(most=86_400)
    database_silence_seconds = _WholeNumber(least=2, most=3600)
    redis_url = _Url(redis_address.parse)
    broker_url = _Url(addresses.check_broker)
    jwt_secret = fields.String(allow_none=True, validate=_check_secrets)
    jwt_secrets_old = _CommaSeparated(validate=_check_secrets)
    jwt_jwks = _Url(jwks.check_address)
    jwt_audience = fields.String(allow_none=True)
    jwt_issuer = fields.String(allow_none=True)
    feed_cap = _WholeNumber()
    feed_slack = _WholeNumber()
    feed_ttl_seconds = _WholeNumber()
    fanout_batch = _WholeNumber()
    fanout_slice = _WholeNumber()
    promote_at = _WholeNumber(most=MAX_ID)
    demote_at = _WholeNumber(most=MAX_ID)
    cors_origins = _CommaSeparated(validate=_check_origins)
    trusted_proxies = _WholeNumber(least=0, most=16)
    public_url = _PublicUrl(allow_none=True)

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _check_pairs(self, data: dict[str, Any], given: Mapping[str, Any], **_: Any) -> None:
        faults = {}
        promote_at = data.get("promote_at", Settings.promote_at)
        demote_at = data.get("demote_at", min(Settings.demote_at, promote_at))
        if promote_at < demote_at:
            faults["demote_at"] = [f"must be at most FEEDSVC_PROMOTE_AT, which is {promote_at}"]
        cluster = (data.get("redis_url") or "").startswith(addresses.CLUSTER_SCHEME)
        if cluster and not given.get("broker_url"):
            faults["broker_url"] = ["is required with a redis+cluster:// URL"]
        is_embedded = not given.get("database_url") or not given.get("redis_url")
        if is_embedded and not _can_be_folder(data.get("data_dir", Settings.data_dir)):
            faults["data_dir"] = ["must be a folder that can be made and written"]
        if faults:
            raise ValidationError(faults)

    @post_load
    def _build(self, data: dict[str, Any], **_: Any) -> Settings:
        # A list grows by an eighth of the cap, at least by one entry, before it is trimmed.
        data.setdefault("feed_slack", max(1, data.get("feed_cap", Settings.feed_cap) // 8))
        data.setdefault(
            "demote_at", min(Settings.demote_at, data.get("promote_at", Settings.promote_at))
        )
        return Settings(**data)


def load_settings(
    environ: Mapping[str, str] | None = None,
    /,
    *,
    for_tokens: bool = False,
    **overrides: Any,
) -> Settings:
    """Return the settings of `environ`, by default the process's environment, and of `overrides`.

    An override wins over a variable. An empty variable counts as unset. `for_tokens`: this process
    signs or verifies tokens, and needs keys. An unknown variable of the process's environment is
    logged. Raises `BadSettings`, which names every bad setting.
    """
    if environ is None:
        environ = os.environ
        for variable, nearest in unknown_variables(environ).items():
            _warn_once(variable, nearest)
    given: dict[str, Any] = {
        name: environ[PREFIX + name.upper()]
        for name in Settings.__dataclass_fields__
        if environ.get(PREFIX + name.upper())
    }
    given.update(overrides)
    faults: dict[str, list[str]] = {}
    loaded = None
    try:
        loaded = cast("Settings", _SettingsSchema().load(given))
    except ValidationError as error:
        faults = error.messages_dict
    if for_tokens:
        faults = {**_faults_of_keys(given), **faults}
    if faults or loaded is None:
        raise BadSettings(faults)
    return loaded


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with our prefix that are no settings, and the nearest setting of each.

    An orchestrator may inject such variables: Kubernetes does for a service named `feedsvc`.
    """
    known = [PREFIX + name.upper() for name in Settings.__dataclass_fields__]
    return {
        name: difflib.get_close_matches(name, known, 1, 0.0)[0]
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known
    }


@cache
def _warn_once(variable: str, nearest: str) -> None:
    _log.warning("settings.unknown_variable", variable=variable, nearest_setting=nearest)


def _faults_of_keys(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what is wrong with the keys of tokens, for a process that needs them."""
    address = given.get("jwt_jwks")
    if given.get("database_url") and not given.get("jwt_secret") and not address:
        return {"jwt_secret": [_SECRET_REQUIRED]}
    if isinstance(address, str) and address and not jwks.is_url(address):
        try:
            jwks.read(address)
        except ValueError as error:
            return {"jwt_jwks": [str(error)]}
    return {}


def _can_be_folder(path: Path) -> bool:
    """Return whether the folder can be written, or made."""
    path = path.absolute()
    there = next(each for each in (path, *path.parents) if each.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
