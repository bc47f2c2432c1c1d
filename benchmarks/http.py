"""Keep-alive HTTP clients of little code, because they share two cores with the measured server."""

from __future__ import annotations

import json
import selectors
import socket
import time
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "
_RECEIVE_BYTES = 1 << 17
_TIMEOUT_SECONDS = 60


def request(method: str, path: str, token: str, body: Any = None) -> bytes:
    """Return a request as it is sent; `body` is sent as JSON."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    content = json.dumps(body).encode()
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return f"{head}\r\n".encode() + content


class Connection:
    """One blocking connection, closed at the end of a `with` block."""

    def __init__(self, port: int) -> None:
        """Connect to a port of 127.0.0.1."""
        self._socket = _connect(port, _TIMEOUT_SECONDS)

    def ask(self, message: bytes) -> tuple[int, bytes]:
        """Send a whole request; return the status and the body of its answer."""
        self._socket.sendall(message)
        received = bytearray()
        while not (length := _whole_length(received)):
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise ConnectionError("the server closed the connection before its answer ended")
            received += data
        return int(received[9:12]), bytes(received[received.find(_HEAD_END) + 4 : length])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@dataclass
class Loop:
    """The outcome of a closed loop: its length, each request's latency, and the last body."""

    seconds: float = 0
    latencies: list[float] = field(default_factory=list)
    body: bytes = b""

    @property
    def per_second(self) -> float:
        """Return requests per second."""
        return len(self.latencies) / self.seconds


def drive(
    port: int, requests: Sequence[bytes], *, connections: int, seconds: float = 0, count: int = 0
) -> Loop:
    """Send requests in turn for at least `seconds` and `count`, one at a time on each connection.

    Raises ValueError at an answer that is not 200.
    """
    loop, following, selector = Loop(), cycle(requests), selectors.DefaultSelector()
    opened = [_connect(port) for _ in range(connections)]
    started = now = time.perf_counter()
    for connection in opened:
        sent = _send(connection, following)
        selector.register(connection, selectors.EVENT_READ, [sent, bytearray()])
    while now - started < seconds or len(loop.latencies) < count:
        for ready, _ in selector.select():
            sent, received = ready.data
            received += ready.fileobj.recv(_RECEIVE_BYTES)
            if not _whole_length(received):
                continue
            if not received.startswith(b"HTTP/1.1 200"):
                raise ValueError(bytes(received))
            now = time.perf_counter()
            loop.latencies.append(now - sent)
            loop.body = bytes(received).partition(_HEAD_END)[2]
            received.clear()
            ready.data[0] = _send(ready.fileobj, following)
    loop.seconds = now - started
    for connection in opened:
        connection.close()
    return loop


def _connect(port: int, timeout_seconds: float | None = None) -> socket.socket:
    # A socket with a timeout costs one more system call for each send and receive.
    connection = socket.create_connection(("127.0.0.1", port), timeout_seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _send(connection: socket.socket, following: Iterator[bytes]) -> float:
    started = time.perf_counter()
    connection.sendall(next(following))
    return started


def _whole_length(received: bytearray) -> int:
    """Return the length of the answer that `received` holds; 0 until the answer is complete."""
    end = received.find(_HEAD_END)
    if end < 0:
        return 0
    length = end + len(_HEAD_END)
    at = received.find(_LENGTH, 0, end)
    if at >= 0:
        length += int(received[at + len(_LENGTH) : received.find(b"\r", at + len(_LENGTH))])
    return length if len(received) >= length else 0
