"""The settings of the service, read from the environment in one place.

The variable `FEEDSVC_FEED_CAP` is the field `feed_cap` here and the keyword `feed_cap` of
`create_app`. `docs/settings.md` documents each setting; a test fails when one is missing there.
"""

from __future__ import annotations

import difflib
import os
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

from feedsvc import jwks, redis_address, store_urls
from feedsvc.errors import BadSettings
from feedsvc.formats import MAX_ID
from feedsvc.setting_fields import (
    SHORTEST_SECRET,
    CommaSeparated,
    PathField,
    PublicUrl,
    Url,
    WholeNumber,
    check_origins,
    check_secrets,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "FEEDSVC_"

# Threads of one web process that call Flask. A store that hangs may hold at most half of them.
REQUEST_THREADS = 8

# Hosts that share a database must share the secret. A generated secret would differ on each host.
_SECRET_REQUIRED = (
    f"is required with FEEDSVC_DATABASE_URL: at least {SHORTEST_SECRET} characters, the same for "
    "every process that signs or verifies tokens; or set FEEDSVC_JWT_JWKS"
)

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process. `docs/settings.md` explains each default."""

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
    near_cache_bytes: int = 64 << 20
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: int = 0
    public_url: str | None = None

    @property
    def longest_list(self) -> int:
        """Return the number of ids at which a list is trimmed to `feed_cap`."""
        return self.feed_cap + self.feed_slack


class _SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "is no setting"}  # noqa: RUF012 -- as marshmallow declares it

    data_dir = PathField()
    database_url = Url(store_urls.complete_database)
    database_connect_seconds = WholeNumber(least=2, most=3600)
    database_pool_seconds = WholeNumber(most=86_400)
    database_statement_seconds = WholeNumber(most=86_400)
    database_work_seconds = WholeNumber(most=86_400)
    database_silence_seconds = WholeNumber(least=2, most=3600)
    redis_url = Url(redis_address.parse)
    broker_url = Url(store_urls.check_broker)
    jwt_secret = fields.String(allow_none=True, validate=check_secrets)
    jwt_secrets_old = CommaSeparated(validate=check_secrets)
    jwt_jwks = Url(jwks.check_address)
    jwt_audience = fields.String(allow_none=True)
    jwt_issuer = fields.String(allow_none=True)
    feed_cap = WholeNumber()
    feed_slack = WholeNumber()
    feed_ttl_seconds = WholeNumber()
    fanout_batch = WholeNumber()
    fanout_slice = WholeNumber()
    promote_at = WholeNumber(most=MAX_ID)
    demote_at = WholeNumber(most=MAX_ID)
    near_cache_bytes = WholeNumber(least=0)
    cors_origins = CommaSeparated(validate=check_origins)
    trusted_proxies = WholeNumber(least=0, most=16)
    public_url = PublicUrl(allow_none=True)

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _check_pairs(self, data: dict[str, Any], given: Mapping[str, Any], **_: Any) -> None:
        faults = {}
        promote_at = data.get("promote_at", Settings.promote_at)
        demote_at = data.get("demote_at", min(Settings.demote_at, promote_at))
        if promote_at < demote_at:
            faults["demote_at"] = [f"must be at most FEEDSVC_PROMOTE_AT, which is {promote_at}"]
        cluster = (data.get("redis_url") or "").startswith(f"{redis_address.CLUSTER}://")
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

    An override wins over a variable. An empty variable counts as unset. A process that signs or
    verifies tokens sets `for_tokens`, so that missing keys are a fault. An unknown variable of the
    process's environment is logged. Raises `BadSettings`, which names every bad setting.
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
        faults = {**_token_key_faults(given), **faults}
    if faults or loaded is None:
        raise BadSettings(faults)
    return loaded


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return each variable with our prefix that is not a setting, and the most similar setting.

    Kubernetes injects variables like `FEEDSVC_PORT` into pods if a service is named `feedsvc`.
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


def _token_key_faults(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the faults of the settings that hold the keys of tokens."""
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
    """Return whether the folder is writable, or can be created."""
    path = path.absolute()
    nearest = next(each for each in (path, *path.parents) if each.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
