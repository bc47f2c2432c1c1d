"""Read a form or a query by the schemas of the API, and refuse forms that other sites sent."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from flask import g
from markupsafe import Markup
from marshmallow import Schema, ValidationError

from feedsvc.api.fields import Flag, StrictInteger
from feedsvc.api.problems import InvalidFields
from feedsvc.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Request

    from feedsvc.console.session import Session

_CSRF_FIELD = "csrf_token"


def load(schema: Schema, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of the schema's fields. Raises `InvalidFields`.

    Ignores other fields. An empty field counts as left out.
    """
    values: dict[str, Any] = {
        name: given[name].strip() for name in schema.fields if given.get(name, "").strip()
    }
    for name, text in values.items():
        field = schema.fields[name]
        if isinstance(field, StrictInteger) and text.isascii() and text.isdigit():
            values[name] = int(text[:20])
        elif isinstance(field, Flag):
            values[name] = text == "true"
    try:
        return dict(schema.load(values))
    except ValidationError as error:
        raise InvalidFields("form", error.messages_dict) from None


def csrf_field() -> Markup:
    """Return the hidden field that each form of a change carries: the session's secret."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(
        _CSRF_FIELD, g.session.csrf_token
    )


def require_own_page(request: Request, session: Session | None) -> None:
    """Check that a page of this console, of this session, sent the change. Raises `Forbidden`.

    Without a session only the origin is checked.
    """
    if not _is_same_origin(request):
        raise Forbidden(
            "This change did not come from a page of this console. "
            "Open the console, and try again there."
        )
    given = request.form.get(_CSRF_FIELD, "")
    if session is not None and not hmac.compare_digest(given.encode(), session.csrf_token.encode()):
        raise Forbidden("This page belongs to an earlier session. Load it again, and try again.")


def _is_same_origin(request: Request) -> bool:
    """Return whether the browser says that the form is from this site.

    Browsers send Sec-Fetch-Site to https addresses and to localhost, and Origin with every form.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    _, _, origin = request.headers.get("Origin", "").partition("://")
    return bool(origin) and origin == request.host
