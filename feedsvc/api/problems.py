"""Every error as `application/problem+json` (RFC 9457), whatever `Accept` says. Nothing of our insides reaches a client."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from flask import Response, g
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from feedsvc.errors import FeedsvcError, Invalid, Refused, StoreUnavailable
from feedsvc.store.redis.client import UNAVAILABLE

if TYPE_CHECKING:
    from flask import Flask

_log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

_DETAILS = {
    404: "There is nothing at this address. The OpenAPI document at /openapi.json lists what there is.",
    413: "The body is larger than 1 MiB (1,048,576 bytes), which is the most that is accepted.",
}


class BadRequest(FeedsvcError):
    """Not JSON, or not readable at all."""

    status = 400
    title = "Bad request"


class Unauthorized(FeedsvcError):
    """No token, or none that counts."""

    status = 401
    title = "Unauthorized"

    def __init__(self, detail: str, *, given: bool) -> None:
        self.challenge = 'Bearer realm="feedsvc"' + (
            f', error="invalid_token", error_description="{detail}"' if given else ""
        )
        super().__init__(detail)


class UnsupportedMediaType(FeedsvcError):
    """A body that does not say it is JSON."""

    status = 415
    title = "Unsupported media type"


class PreconditionRequired(FeedsvcError):
    """A change of something shared that does not say of what version."""

    status = 428
    title = "Precondition required"


class InvalidFields(FeedsvcError):
    """Values of the wrong shape: `{location: {field: [message]}}`."""

    status = 422
    title = "Unprocessable content"

    def __init__(self, location: str, messages: dict[str, Any]) -> None:
        self.errors = {location: messages}
        super().__init__(f"The {location} is not acceptable: see errors.")


def problem(status: int, title: str, detail: str, **more: Any) -> Response:
    """An error answer."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": g.get("request_id"),
        **more,
    }
    return Response(json.dumps(body), status, content_type=MEDIA_TYPE)


def register(app: Flask) -> None:
    """Answer every error of this application with a problem."""
    app.register_error_handler(Exception, answer_to)


def answer_to(error: Exception) -> Response:
    """The problem that an error is to a client."""
    if isinstance(error, FeedsvcError):
        return _of_ours(error)
    if isinstance(error, HTTPException):
        return _of_http(error)
    return _redis_is_down(error) if isinstance(error, UNAVAILABLE) else _unexpected(error)


def _of_ours(error: FeedsvcError) -> Response:
    more: dict[str, Any] = (
        {"errors": error.errors} if isinstance(error, Invalid | InvalidFields) else {}
    )
    if isinstance(error, Refused):
        more["broken"] = error.broken
    answer = problem(error.status, error.title, error.detail, **more)
    if isinstance(error, Unauthorized):
        answer.headers["WWW-Authenticate"] = error.challenge
    if isinstance(error, StoreUnavailable):
        answer.headers["Retry-After"] = str(error.retry_after_seconds)
        _log.warning("store.unavailable", store=error.store, cause=repr(error.__cause__))
    return answer


def _of_http(error: HTTPException) -> Response:
    status = error.code or 500
    if isinstance(error, RequestEntityTooLarge):
        status = 413
    detail = _DETAILS.get(status) or error.description or HTTPStatus(status).phrase
    answer = problem(status, HTTPStatus(status).phrase, detail)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        answer.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return answer


def _redis_is_down(error: Exception) -> Response:
    unavailable = StoreUnavailable("Redis")
    unavailable.__cause__ = error
    return _of_ours(unavailable)


def _unexpected(error: Exception) -> Response:
    _log.error("http.failed", exc_info=error)
    return problem(
        500,
        "Internal server error",
        "Something went wrong on our side; the request id says where to look.",
    )
