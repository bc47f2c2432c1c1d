"""Answers in JSON: a value, nothing, or one page of a list with its `Link` header (RFC 8288)."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any

from flask import Response, request

from feedsvc.api.addresses import address

if TYPE_CHECKING:
    from marshmallow import Schema

    from feedsvc.paging import Page

# Every answer tells browsers to trust the media type, to show the answer in no frame, and to send
# no `Referer`. A page that needs more rights sets its own Content-Security-Policy.
PROTECTION = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def request_id(given: str) -> str:
    """Return the id of a request: the one that its client gave, if it is sane, or a new one."""
    return given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)


def answer_json(payload: Any, status: int = 200, **headers: str) -> Response:
    """Return the payload as compact JSON."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, headers=headers, content_type="application/json")


def answer_nothing(status: int) -> Response:
    """Return an answer without a body."""
    answer = Response(status=status)
    del answer.headers["Content-Type"]
    return answer


def answer_page(page: Page[Any], limit: int, schema: Schema) -> Response:
    """Return a page of items that the schema serialises."""
    items = schema.dump(page.items, many=True)
    return _answer_page(
        page, limit, [json.dumps(item, ensure_ascii=False).encode() for item in items]
    )


def answer_posts(page: Page[bytes], limit: int) -> Response:
    """Return a page of posts. They are JSON already and are only joined."""
    return _answer_page(page, limit, page.items)


def _answer_page(page: Page[Any], limit: int, items: list[bytes]) -> Response:
    cursors = {"next_cursor": page.next_cursor, "prev_cursor": page.prev_cursor}
    body = b'{"data":[' + b",".join(items) + b'],"page":' + json.dumps(cursors).encode() + b"}"
    # Neither the path of a list nor a cursor holds a character that must be quoted in a URL.
    url = f"{address(request.path)}?limit={limit}&cursor="
    links = [f'<{url}{page.prev_cursor}>; rel="prev"']
    if page.next_cursor is not None:
        links.insert(0, f'<{url}{page.next_cursor}>; rel="next"')
    return Response(body, headers={"Link": ", ".join(links)}, content_type="application/json")
