"""A keep-alive HTTP client of as little code as possible: it shares two cores with what it measures."""

from __future__ import annotations

import json
import re
import socket
from typing import Any, Self

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RECEIVE_BYTES = 65_536


class Connection:
    """One connection; `ask` sends a whole request and returns status and body."""

    def __init__(self, port: int) -> None:
        """Connects."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, message: bytes) -> tuple[int, bytes]:
        """The answer to this request."""
        self._socket.sendall(message)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        found = _LENGTH.search(received, 0, end)
        whole = end + 4 + (int(found[1]) if found else 0)
        while len(received) < whole:
            received += self._receive()
        return int(received[9:12]), received[end + 4 : whole]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _receive(self) -> bytes:
        data = self._socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the server hung up")
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(method: str, path: str, token: str, body: Any = None) -> bytes:
    """A request, as it is sent."""
    content = b"" if body is None else json.dumps(body).encode()
    kind = (
        ""
        if body is None
        else f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    )
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{kind}\r\n".encode()
        + content
    )
