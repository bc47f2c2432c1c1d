"""A closed loop of HTTP requests over raw sockets, so cheap that it measures the server and hardly itself."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass
class Driven:
    """What a loop did: requests a second, the seconds that each took, and the bytes of the last answer's body."""

    seconds: float = 0
    latencies: list[float] = field(default_factory=list)
    body: bytes = b""

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds


def drive(
    port: int, requests: Sequence[bytes], *, connections: int, seconds: float = 0, count: int = 0
) -> Driven:
    """Send these requests in turn, one at a time on each connection, for so long or so often. An answer that is not 200 is an error."""
    driven, following, selector = Driven(), cycle(requests), selectors.DefaultSelector()
    opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    started = time.perf_counter()
    for each in opened:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(each, selectors.EVENT_READ, [_send(each, following), bytearray()])
    now = started
    while now - started < seconds or len(driven.latencies) < count:
        for ready, _ in selector.select():
            sent, received = ready.data
            received += ready.fileobj.recv(1 << 17)
            if not _is_whole(received):
                continue
            now = time.perf_counter()
            driven.latencies.append(now - sent)
            driven.body = bytes(received).partition(_HEAD_END)[2]
            received.clear()
            ready.data[0] = _send(ready.fileobj, following)
    driven.seconds = now - started
    for each in opened:
        each.close()
    return driven


def _send(connection: socket.socket, following: Iterator[bytes]) -> float:
    started = time.perf_counter()
    connection.sendall(next(following))
    return started


def _is_whole(received: bytearray) -> bool:
    end = received.find(_HEAD_END)
    if end < 0:
        return False
    if not received.startswith(b"HTTP/1.1 200"):
        raise ValueError(bytes(received))
    at = received.find(_LENGTH) + len(_LENGTH)
    return len(received) - end - len(_HEAD_END) >= int(received[at : received.find(b"\r", at)])
