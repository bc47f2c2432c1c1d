"""The settings of the service, read from the environment in one place.

The variable `FEEDSVC_FEED_CAP` is the field `feed_cap` here and the keyword `feed_cap` of
`create_app`. `docs/settings.md` documents each setting; a test fails when one is missing there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from marshmallow import (
    RAISE,
    Schema,
    ValidationError,
    fields,
    post_load,
    validate,
    validates_schema,
)

from feedsvc.errors import BadSettings
from feedsvc.formats import is_host

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "FEEDSVC_"

# Threads of one web process that call Flask. A store that hangs may hold at most half of them.
REQUEST_THREADS = 8

_AT_LEAST_ONE = validate.Range(min=1)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process. None means the embedded part, or the key of the data folder."""

    data_dir: Path = Path(".feedsvc")
    database_url: str | None = None
    redis_url: str | None = None
    broker_url: str | None = None
    jwt_secret: str | None = None
    jwt_jwks: str | None = None
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
        return Path(value).expanduser()


class _SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    data_dir = _Path()
    database_url = fields.String(allow_none=True)
    redis_url = fields.String(allow_none=True)
    broker_url = fields.String(allow_none=True)
    jwt_secret = fields.String(allow_none=True, validate=validate.Length(min=32))
    jwt_jwks = fields.String(allow_none=True)
    feed_cap = fields.Integer(validate=_AT_LEAST_ONE)
    feed_slack = fields.Integer(validate=_AT_LEAST_ONE)
    feed_ttl_seconds = fields.Integer(validate=_AT_LEAST_ONE)
    fanout_batch = fields.Integer(validate=_AT_LEAST_ONE)
    fanout_slice = fields.Integer(validate=_AT_LEAST_ONE)
    promote_at = fields.Integer(validate=_AT_LEAST_ONE)
    demote_at = fields.Integer(validate=_AT_LEAST_ONE)
    cors_origins = _CommaSeparated(validate=_check_origins)
    trusted_proxies = fields.Integer(validate=validate.Range(min=0, max=16))
    public_url = _PublicUrl(allow_none=True)

    @validates_schema
    def _check_pairs(self, data: dict[str, Any], **_: Any) -> None:
        promote_at = data.get("promote_at", Settings.promote_at)
        demote_at = data.get("demote_at", min(Settings.demote_at, promote_at))
        if promote_at < demote_at:
            raise ValidationError(f"must be at most promote_at ({promote_at})", "demote_at")
        cluster = (data.get("redis_url") or "").startswith("redis+cluster://")
        if cluster and not data.get("broker_url"):
            raise ValidationError("is required with a redis+cluster:// URL", "broker_url")

    @post_load
    def _build(self, data: dict[str, Any], **_: Any) -> Settings:
        # A list grows by an eighth of the cap, at least by one entry, before it is trimmed.
        data.setdefault("feed_slack", max(1, data.get("feed_cap", Settings.feed_cap) // 8))
        data.setdefault(
            "demote_at", min(Settings.demote_at, data.get("promote_at", Settings.promote_at))
        )
        return Settings(**data)


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Return the settings of `environ`, by default the process's environment, and of `overrides`.

    An override wins over a variable. An empty variable counts as unset. Raises `BadSettings`, which
    names every bad setting in one line.
    """
    environ = os.environ if environ is None else environ
    given: dict[str, Any] = {
        name: environ[PREFIX + name.upper()]
        for name in Settings.__dataclass_fields__
        if environ.get(PREFIX + name.upper())
    }
    try:
        return cast("Settings", _SettingsSchema().load({**given, **overrides}))
    except ValidationError as error:
        raise BadSettings(error.messages_dict) from None
