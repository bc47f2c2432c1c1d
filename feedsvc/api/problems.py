"""Answer every error as `application/problem+json` (RFC 9457), for any `Accept` header.

No stack trace, HTML or SQL reaches a client.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import structlog
from flask import Response, g
from werkzeug.exceptions import ClientDisconnected, HTTPException

from feedsvc.errors import FeedsvcError, StoreUnavailable

_log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

# Details that replace Werkzeug's own, which say too little.
_DETAILS = {
    404: "Nothing exists at this address. The document at /openapi.json lists every address.",
    413: "The body is larger than 1 MiB (1,048,576 bytes), which is the most that is accepted.",
}
_TRUNCATED = "The body is shorter than its Content-Length says. Nothing was changed. Send it again."
_LOCATIONS = {
    "form": "The form has invalid values",
    "headers": "The headers have invalid values",
    "json": "The JSON body has invalid values",
    "path": "The path has invalid values",
    "query": "The query has invalid values",
}
# The headers that answers keep of Werkzeug's errors. The HTML bodies are dropped.
_KEPT_HEADERS = ("Allow", "Content-Range", "Retry-After")


class BadRequest(FeedsvcError):
    """The body is not JSON, or cannot be read at all."""

    status = 400


class Unauthorized(FeedsvcError):
    """The token is missing (`given` is false) or invalid."""

    status = 401

    def __init__(self, detail: str, *, given: bool) -> None:
        self.challenge = 'Bearer realm="feedsvc"' + (
            f', error="invalid_token", error_description="{detail}"' if given else ""
        )
        super().__init__(detail)


class UnsupportedMediaType(FeedsvcError):
    """The request does not say that its body is JSON."""

    status = 415


class PreconditionRequired(FeedsvcError):
    """A change of shared data that does not say which version the caller has read."""

    status = 428


class InvalidFields(FeedsvcError):
    """Values of the wrong shape. `errors` is `{location: {field: [message]}}`."""

    status = 422

    def __init__(self, location: str, messages: dict[str, Any]) -> None:
        self.errors = {location: messages}
        super().__init__(f"{_LOCATIONS[location]}: errors names each one and what is accepted.")


def problem(status: int, detail: str, **more: Any) -> Response:
    """Return an error answer. `more` adds members to the problem."""
    text = problem_text(status, detail, g.get("request_id"), **more)
    return Response(text, status, content_type=MEDIA_TYPE)


def problem_text(status: int, detail: str, request_id: str | None, **more: Any) -> str:
    """Return the JSON of a problem. Its title is the phrase of the status."""
    return json.dumps(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "request_id": request_id,
            **more,
        }
    )


def answer_to(error: Exception) -> Response:
    """Return the problem that describes an error to a client."""
    if isinstance(error, FeedsvcError):
        return _domain_problem(error)
    if isinstance(error, HTTPException):
        return _http_problem(error)
    _log.error("http.failed", exc_info=error)
    return problem(
        500,
        "The service failed. Report the request id: it finds the cause in the log.",
    )


def _domain_problem(error: FeedsvcError) -> Response:
    members = {key: value for key, value in vars(error).items() if key in ("errors", "broken")}
    answer = problem(error.status, str(error), **members)
    if isinstance(error, Unauthorized):
        answer.headers["WWW-Authenticate"] = error.challenge
    if isinstance(error, StoreUnavailable):
        answer.headers["Retry-After"] = str(error.retry_after_seconds)
        _log.warning(
            "store.unavailable",
            store=error.store,
            cause=error.cause or f"{type(error.__cause__).__name__}: {error.__cause__}",
        )
    return answer


def _http_problem(error: HTTPException) -> Response:
    status = error.code or 500
    detail = _TRUNCATED if isinstance(error, ClientDisconnected) else _DETAILS.get(status)
    answer = problem(status, detail or error.description or HTTPStatus(status).phrase)
    answer.headers.extend(
        {name: value for name, value in error.get_headers() if name in _KEPT_HEADERS}
    )
    return answer
