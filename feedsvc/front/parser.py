"""Parse the bytes of one connection into whole requests, or into the reason for refusing them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import httptools

# A head has at most this many bytes. The longest token that is accepted is far below it.
MAX_HEAD_BYTES = 65_536


@dataclass(slots=True)
class Request:
    """A request as it arrived: header names in lower case, and the body without its framing.

    A body over the limit is not kept. `announced_bytes` then tells the application its length.
    """

    method: str = ""
    target: bytes = b""
    version: str = "1.1"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    announced_bytes: int | None = None
    keep_alive: bool = False


@dataclass(frozen=True)
class Refusal:
    """An answer that the server gives in place of the application."""

    status: int
    title: str
    detail: str
    retry_after_seconds: int | None = None


class Parser:
    """The parser of one connection.

    `requests` holds whole requests. After `refusal` is set nothing more may be fed.
    """

    def __init__(self, max_body_bytes: int) -> None:
        """Accept bodies of at most `max_body_bytes`."""
        self.requests: deque[Request] = deque()
        self.refusal: Refusal | None = None
        self.is_in_body = False
        self.wants_continue = False
        self._max_body_bytes = max_body_bytes
        self._head_bytes = 0
        self._request: Request | None = None
        self._http = httptools.HttpRequestParser(self)

    @property
    def is_quiet(self) -> bool:
        """Return whether no request has begun, and none waits."""
        return self._request is None and not self.requests and self.refusal is None

    @property
    def body_bytes(self) -> int:
        """Return how much of the current request's body has arrived."""
        return len(self._request.body) if self._request else 0

    def feed(self, data: bytes) -> None:
        """Parse the next bytes."""
        try:
            self._http.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The server speaks no other protocol. The request stands, and its connection ends.
            if self.requests:
                self.requests[-1].keep_alive = False
        except httptools.HttpParserError as error:
            is_invented = isinstance(error, httptools.HttpParserInvalidMethodError)
            if is_invented and data[:1].isalpha():  # a client that speaks TLS begins otherwise
                self._refuse(405, "Method Not Allowed", "HTTP knows no such method.")
            else:
                self._refuse(400, "Bad Request", "The request is not valid HTTP/1.1.")
        if self._request and not self.is_in_body:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(
                    431,
                    "Request Header Fields Too Large",
                    f"The request line and the headers have at most {MAX_HEAD_BYTES:,} bytes.",
                )

    # httptools calls the methods below.

    def on_message_begin(self) -> None:
        self._request = Request()
        self._head_bytes = 0

    def on_url(self, part: bytes) -> None:
        if self._request:
            self._request.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request:
            self._request.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        request = self._request
        if not request:
            return
        self.is_in_body = True
        request.method = self._http.get_method().decode()
        request.version = self._http.get_http_version()
        request.keep_alive = self._http.should_keep_alive()
        self._judge_headers(request)

    def _judge_headers(self, request: Request) -> None:
        hosts = 0
        for name, value in request.headers:
            if name == b"host":
                hosts += 1
            elif name == b"expect":
                self.wants_continue = value.lower() == b"100-continue"
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self._refuse(400, "Bad Request", "The only accepted transfer encoding is chunked.")
            elif name == b"content-length" and int(value) > self._max_body_bytes:
                self._cut(request, int(value))
        # HTTP/1.0 has no Host.
        if hosts > 1 or (not hosts and request.version != "1.0"):
            self._refuse(400, "Bad Request", "A request has exactly one Host header.")

    def on_body(self, data: bytes) -> None:
        self.wants_continue = False
        request = self._request
        if not request or self.refusal:
            return
        request.body += data
        if len(request.body) > self._max_body_bytes:
            self._cut(request, len(request.body))

    def on_message_complete(self) -> None:
        if self._request and not self.refusal:
            self.requests.append(self._request)
        self._request = None
        self.is_in_body = self.wants_continue = False

    def _cut(self, request: Request, announced_bytes: int) -> None:
        """Let the application refuse a body that is too long: it checks the token before."""
        request.body.clear()
        request.announced_bytes = announced_bytes
        request.keep_alive = False
        self.requests.append(request)
        self._request = None
        self.wants_continue = False

    def _refuse(self, status: int, title: str, detail: str) -> None:
        if not self.refusal:
            self.refusal = Refusal(status, title, detail)
