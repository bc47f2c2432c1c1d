"""Marshmallow fields as strict as the contract: no value is coerced."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields

from feedsvc.formats import ACCEPTED_ID, MAX_ID, parse_id, parse_rfc3339, rfc3339

MAX_URL = 2_048
MAX_LIMIT = 100

_URL_CHARACTERS = re.compile(r"[^\s\x00-\x20\x7f\"<>\\^`{|}]+")
_DECIMAL = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)


class Id(fields.Field[int]):
    """An id: a decimal string in JSON and in addresses, an integer inside the service."""

    def _serialize(self, value: int | None, attr: str | None, obj: Any, **_: Any) -> str | None:
        return None if value is None else str(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> int:
        number = parse_id(value)
        if number is None:
            raise ValidationError(ACCEPTED_ID)
        return number


class Text(fields.String):
    """Any Unicode except NUL and lone surrogates."""

    default_error_messages = {"invalid": "Must be a string."}  # noqa: RUF012 -- as its base class

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **more)
        if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise ValidationError("Must not contain NUL characters or lone surrogates.")
        return text


class HttpUrl(Text):
    """An absolute http(s) URL."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> str:
        text = super()._deserialize(value, attr, data, **more)
        if len(text) > MAX_URL:
            raise ValidationError(f"Must be at most {MAX_URL} characters long.")
        if not _is_absolute_http(text):
            raise ValidationError(
                "Must be an absolute http or https URL, like https://img.example/1.jpg."
            )
        return text


class StrictInteger(fields.Integer):
    """A JSON integer: no string, no float, no boolean."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValidationError("Must be an integer.")
        return super()._deserialize(value, attr, data, **more)


class Flag(fields.Field[bool]):
    """A JSON boolean: no string, no number."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be true or false.")
        return value


class StrictNumber(fields.Float):
    """A JSON number: no string, no boolean; finite."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValidationError("Must be a number.")
        return super()._deserialize(value, attr, data, **more)


class Limit(fields.Field[int]):
    """The `limit` of a list, as text in the query."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> int:
        number = int(value) if _DIGITS.fullmatch(value) else 0
        if not 1 <= number <= MAX_LIMIT:
            raise ValidationError(f"Must be an integer between 1 and {MAX_LIMIT}.")
        return number


class QueryCount(fields.Field[int]):
    """A whole number from 1 on, as text in the query."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> int:
        number = parse_id(value)
        if number is None:
            raise ValidationError(f"Must be an integer between 1 and {MAX_ID}.")
        return number


class QueryAmount(fields.Field[float]):
    """A number above 0, as text in the query."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> float:
        if not _DECIMAL.fullmatch(value) or float(value) == 0:
            raise ValidationError("Must be a number above 0, like 5 or 0.25.")
        return float(value)


class IdList(fields.Field[list[int]]):
    """Up to 100 ids, separated by commas. A repeated id counts once."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> list[int]:
        parts = value.split(",")
        if len(parts) > MAX_LIMIT:
            raise ValidationError(f"Must be at most {MAX_LIMIT} ids.")
        numbers = [number for number in map(parse_id, parts) if number is not None]
        if len(numbers) < len(parts):
            raise ValidationError(f"Must be ids separated by commas. Each id: {ACCEPTED_ID}")
        return list(dict.fromkeys(numbers))


class Moment(fields.Field[dt.datetime]):
    """A time by RFC 3339, answered in UTC with `Z`."""

    def _serialize(
        self, value: dt.datetime | None, attr: str | None, obj: Any, **_: Any
    ) -> str | None:
        return None if value is None else rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> dt.datetime:
        time = parse_rfc3339(value)
        if time is None:
            raise ValidationError(
                "Must be a time by RFC 3339 in the years 1 to 9999, like 2026-11-23T22:00:00Z."
            )
        return time


def _is_absolute_http(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(host)
        and _URL_CHARACTERS.fullmatch(text) is not None
    )
