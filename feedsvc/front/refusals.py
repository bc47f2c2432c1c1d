"""The answers that the web server gives itself, in place of the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.api.answers import PROTECTION, request_id
from feedsvc.api.cors import allowance
from feedsvc.api.problems import MEDIA_TYPE, problem_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    Headers = list[tuple[bytes, bytes]]


class Refusal(Exception):
    """A request that the application does not answer. The connection ends after the refusal."""

    def __init__(self, status: int, detail: str, *headers: tuple[str, str]) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers

    def answer(
        self, asked: Iterable[tuple[bytes, bytes]], origins: tuple[str, ...]
    ) -> tuple[Headers, bytes]:
        """Return the headers and the body for a request with the headers `asked`, if any."""
        given = {name: value.decode("latin-1") for name, value in asked}
        own_id = request_id(given.get(b"x-request-id", ""))
        body = problem_text(self.status, str(self), own_id).encode()
        headers = [
            ("Content-Type", MEDIA_TYPE),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            ("X-Request-ID", own_id),
            *PROTECTION,
            *self.headers,
        ]
        if origins:
            headers += [("Vary", "Origin"), *allowance(given.get(b"origin"), origins)]
        return encoded(headers), body


def encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return headers as they are sent."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
