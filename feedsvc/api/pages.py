"""Answers that are one page of a list: `data`, `page`, and the same cursors as `Link` (RFC 8288)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flask import Response, request

if TYPE_CHECKING:
    from marshmallow import Schema

    from feedsvc.paging import Page


def answer_page(page: Page[Any], limit: int, schema: Schema) -> Response:
    """A page of things that the schema serialises."""
    return _answer(
        page,
        limit,
        [
            json.dumps(item, ensure_ascii=False).encode()
            for item in schema.dump(page.items, many=True)
        ],
    )


def answer_posts(page: Page[bytes], limit: int) -> Response:
    """A page of posts, which are JSON already: joined, not made again."""
    return _answer(page, limit, page.items)


def _answer(page: Page[Any], limit: int, items: list[bytes]) -> Response:
    cursors = json.dumps(
        {"next_cursor": page.next_cursor, "prev_cursor": page.prev_cursor}
    ).encode()
    body = b'{"data":[' + b",".join(items) + b'],"page":' + cursors + b"}"
    # What is in the path of a list needs no quoting, nor does a cursor.
    url = (
        f"{request.scheme}://{request.host}{request.root_path}{request.path}?limit={limit}&cursor="
    )
    links = [("next", page.next_cursor), ("prev", page.prev_cursor)]
    link = ", ".join(
        f'<{url}{cursor}>; rel="{relation}"' for relation, cursor in links if cursor is not None
    )
    return Response(body, headers={"Link": link}, content_type="application/json")
