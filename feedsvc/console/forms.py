"""What a form or an address says, judged by the schemas of the API: the same limits, the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marshmallow import Schema, ValidationError

from feedsvc.api.fields import Flag, StrictInteger
from feedsvc.api.problems import InvalidFields

if TYPE_CHECKING:
    from collections.abc import Mapping


def load(schema: Schema, given: Mapping[str, str]) -> dict[str, Any]:
    """The schema's fields; the others are somebody else's, and an empty one was left out. Raises `InvalidFields`."""
    known: dict[str, Any] = {
        name: given[name].strip() for name in schema.fields if given.get(name, "").strip()
    }
    for name, text in known.items():
        field = schema.fields[name]
        if isinstance(field, StrictInteger) and text.isascii() and text.isdigit():
            known[name] = int(text[:20])
        elif isinstance(field, Flag):
            known[name] = text == "true"
    try:
        loaded: dict[str, Any] = schema.load(known)
    except ValidationError as error:
        raise InvalidFields("form", error.messages_dict) from None
    return loaded
