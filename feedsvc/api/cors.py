"""Cross-origin requests (CORS): let pages of the configured origins call `/v1`.

Every answer under `/v1` carries the headers, errors too, because a page cannot read an answer
without them. Tokens travel in `Authorization`, so no answer allows credentials of the browser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import request

if TYPE_CHECKING:
    from flask import Response

_METHODS = "DELETE, GET, HEAD, PATCH, POST, PUT"
_EXPOSED = "ETag, Idempotency-Replayed, Link, Location, Retry-After, WWW-Authenticate, X-Request-ID"
_MAX_AGE_SECONDS = "600"


def is_preflight() -> bool:
    """Return whether the request is a CORS preflight."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def allowance(origin: str | None, origins: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the headers that let a page of `origin` read an answer; none for another origin."""
    if origin is None or not {origin, "*"} & set(origins):
        return []
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", _EXPOSED),
    ]


def allow(response: Response, origins: tuple[str, ...]) -> None:
    """Allow the page that sent the request to read the answer, if its origin is in `origins`."""
    response.vary.add("Origin")
    allowed = allowance(request.headers.get("Origin"), origins)
    response.headers.extend(allowed)
    if allowed and is_preflight():
        asked = request.headers.get("Access-Control-Request-Headers")
        response.headers["Access-Control-Allow-Methods"] = _METHODS
        response.headers["Access-Control-Max-Age"] = _MAX_AGE_SECONDS
        if asked:
            response.headers["Access-Control-Allow-Headers"] = asked
