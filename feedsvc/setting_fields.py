"""The types of settings. Each type parses and validates the value of one setting.

A rejected value raises `ValidationError`. Its message says which values are accepted, and holds no
secret.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError, fields

from feedsvc.formats import is_host, is_path_prefix

if TYPE_CHECKING:
    from collections.abc import Callable

# The minimum length of an HS256 secret, in characters. RFC 7518, section 3.2, asks for at least the
# size of the digest, which is 32 bytes.
SHORTEST_SECRET = 32

# The largest accepted number, unless a setting has a limit of its own.
_MOST = 2**31 - 1
_DIGITS = re.compile(r"[0-9]{1,19}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class CommaSeparated(fields.Field[tuple[str, ...]]):
    """Texts that are separated by commas."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(each, str) for each in parts):
            raise ValidationError("must be texts, separated by commas")
        return tuple(part.strip() for part in parts if part.strip())


def check_origins(origins: tuple[str, ...]) -> None:
    """Raise `ValidationError` for an origin that no browser sends, and that would never match."""
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


class PublicUrl(fields.Field[str]):
    """An http(s) URL with a scheme, a host and a path prefix. A slash at its end is removed."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str:
        text = str(value).rstrip("/")
        scheme, _separator, rest = text.partition("://")
        host, slash, path = rest.partition("/")
        is_url = scheme in _DEFAULT_PORTS and is_host(host) and is_path_prefix(slash + path)
        if not is_url:
            raise ValidationError(
                "must be an http or https URL of a host and a path prefix, like "
                "https://app.example or https://app.example/feeds"
            )
        return text


class PathField(fields.Field[Path]):
    """A path. `~` stands for the user's home folder."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> Path:
        try:
            return Path(value).expanduser()
        except (TypeError, RuntimeError):
            raise ValidationError("must be a path") from None


class Url(fields.String):
    """A URL that `check` accepts. `check` raises `ValueError` for every other URL."""

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


def check_secrets(secrets: str | tuple[str, ...]) -> None:
    """Raise `ValidationError` for a secret that is too short."""
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        if len(secret) < SHORTEST_SECRET:
            raise ValidationError(f"must have at least {SHORTEST_SECRET} characters")


class WholeNumber(fields.Field[int]):
    """A whole number from `least` to `most`."""

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
