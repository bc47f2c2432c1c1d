"""Call a WSGI application with a whole request, and frame its answer for the wire."""

from __future__ import annotations

import io
import json
import secrets
import sys
import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit
from wsgiref.handlers import format_date_time

from feedsvc.api.answers import PROTECTION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import WSGIApplication

    from feedsvc.front.parser import Refusal, Request

# The server has removed the framing of the body, and frames the answer itself.
_OWN_HEADERS = {b"connection", b"content-length", b"expect", b"transfer-encoding", b"upgrade"}


def environ_of(request: Request, client: str, server: tuple[str, int]) -> dict[str, Any]:
    """Return the WSGI environment of a request."""
    path, _, query = _origin_form(request.target).partition(b"?")
    if b"%" in path:
        path = unquote_to_bytes(path)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "REMOTE_ADDR": client,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    length = request.announced_bytes or len(request.body)
    if length:
        environ["CONTENT_LENGTH"] = str(length)
    for name, value in request.headers:
        key = _environ_key(name)
        if key is None:
            continue
        text = value.decode("latin-1")
        if key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    return environ


def _origin_form(target: bytes) -> bytes:
    """Return the path and query of a target, which a client of a proxy gives as a whole URL."""
    if target.startswith(b"/") or b"://" not in target:
        return target
    url = urlsplit(target)
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")


@lru_cache(1_024)
def _environ_key(name: bytes) -> str | None:
    """Return a header's name in the environment; None if the application must not see it.

    The environment cannot tell an underscore from a dash. `X_Forwarded_For` must not pass for
    `X-Forwarded-For`, which a proxy has judged.
    """
    if name in _OWN_HEADERS or b"_" in name:
        return None
    if name == b"content-type":
        return "CONTENT_TYPE"
    return "HTTP_" + name.decode("latin-1").upper().replace("-", "_")


class Answer:
    """The application's answer to one request. Its body may still have to be made, piece by piece.

    The first piece calls the application. `is_complete` is true once the last piece has been
    returned. `keep_alive` says whether the connection may serve another request.
    """

    def __init__(self, app: WSGIApplication, environ: dict[str, Any], *, keep_alive: bool) -> None:
        """Remember what to call."""
        self.keep_alive = keep_alive
        self.is_complete = False
        self.has_begun = False
        self._app, self._environ = app, environ
        self._is_http_1_0 = environ["SERVER_PROTOCOL"] != "HTTP/1.1"
        self._has_body = environ["REQUEST_METHOD"] != "HEAD"
        self._is_chunked = False
        self._left_bytes: int | None = None
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._body: Iterable[bytes] = ()
        self._pieces: Iterator[bytes] = iter(())

    def next_piece(self) -> bytes:
        """Return the next bytes to send. Raises whatever the application raises."""
        if self.has_begun:
            return self._framed(next(self._pieces, None))
        self._body = self._app(self._environ, self._start)
        self._pieces = iter(self._body)
        made = next(self._pieces, None)
        self.has_begun = True
        self._choose_framing()
        head = self._head()
        return head + (self._framed(made) if self._has_body else b"")

    def close(self) -> None:
        """Tell the application that its answer was sent, or will not be."""
        close = getattr(self._body, "close", None)
        if close:
            close()

    def _start(
        self, status: str, headers: list[tuple[str, str]], _exc_info: Any = None
    ) -> Callable[[bytes], object]:
        self._status, self._headers = status, headers
        return _refuse_write

    def _choose_framing(self) -> None:
        lengths = [value for name, value in self._headers if name.lower() == "content-length"]
        if not self._has_body or self._status.startswith(("1", "204", "304")):
            self._has_body = False
            self.is_complete = True
        elif lengths:
            self._left_bytes = int(lengths[0])
            self.is_complete = not self._left_bytes
        elif self._is_http_1_0:
            self.keep_alive = False  # the end of the connection is the end of the body
        else:
            self._is_chunked = True

    def _head(self) -> bytes:
        lines = [f"HTTP/1.1 {self._status}\r\n"]
        lines += [f"{name.lower()}: {value}\r\n" for name, value in self._headers]
        if self._is_chunked:
            lines.append("transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            lines.append("connection: close\r\n")
        elif self._is_http_1_0:
            lines.append("connection: keep-alive\r\n")
        lines.append(f"date: {_date(int(time.time()))}\r\n\r\n")
        return "".join(lines).encode("latin-1")

    def _framed(self, made: bytes | None) -> bytes:
        """Return a piece of the body as it is sent; None is the end of the body."""
        if made is None:
            self.is_complete = True
            if self._left_bytes:
                raise ValueError(f"the application's answer lacks {self._left_bytes} bytes")
            return b"0\r\n\r\n" if self._is_chunked else b""
        if self._left_bytes is not None:
            made = made[: self._left_bytes]
            self._left_bytes -= len(made)
            self.is_complete = not self._left_bytes
            return made
        return b"%x\r\n%b\r\n" % (len(made), made) if self._is_chunked and made else made


def refusal_bytes(refusal: Refusal, *, keep_alive: bool = False) -> bytes:
    """Return a whole answer, as `application/problem+json`, that the server gives itself."""
    request_id = secrets.token_hex(8)
    body = json.dumps(
        {
            "type": "about:blank",
            "title": refusal.title,
            "status": refusal.status,
            "detail": refusal.detail,
            "request_id": request_id,
        }
    )
    lines = [
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        f"x-request-id: {request_id}",
        f"date: {_date(int(time.time()))}",
        *(f"{name.lower()}: {value}" for name, value in PROTECTION),
    ]
    if refusal.retry_after_seconds is not None:
        lines.append(f"retry-after: {refusal.retry_after_seconds}")
    if not keep_alive:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", body]).encode()


def _refuse_write(_data: bytes) -> object:
    raise NotImplementedError("an application of this server returns its body")


@lru_cache(2)
def _date(second: int) -> str:
    return format_date_time(second)
