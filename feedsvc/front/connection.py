"""One client's connection: uvicorn's protocol with limits of time, number and size.

Uvicorn parses with httptools, queues requests that are sent together, and frames answers. It waits
for a client without a limit. So each connection here knows since when it waits for its client, and
for how long it may.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from feedsvc.front.refusals import Refusal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

# What the parser reads before a whole request has to be answered: few requests fit into it.
_PART_BYTES = 4_096
# A head has at most this many bytes, and so has what stands between two pieces of a body.
MAX_HEAD_BYTES = 65_536
# After its last answer a connection swallows this much, so that the client can read the answer.
_IGNORED_BYTES = 64 * 1024 * 1024
# All unfinished bodies of a process together.
_MOST_BODY_BYTES = 128 * 1024 * 1024
# At a limit this share of the connections is ended at once: the search for the oldest is rare.
_EVICTED_SHARE = 50

_HEAD_SECONDS = 10.0
# nginx closes the idle connections of its pool after 60 s. The side that sends must close first.
_IDLE_SECONDS = 75.0
# A body, and an answer, may take this long, and a second more for each 8 KiB that have moved.
_TRANSFER_SECONDS = 20.0
_BYTES_A_SECOND = 8_192
# When the process ends, a request that is not whole has this long.
_ARRIVAL_SECONDS = 4.0

_TIMED_OUT = Refusal(408, "The request did not arrive in time.")
_CUT_OFF = Refusal(400, "The connection ended before the request did.")
_INVALID = Refusal(400, "The request is not valid HTTP/1.1.")
_INVENTED_METHOD = Refusal(405, "HTTP knows no such method.")
_LONG_HEAD = Refusal(
    431, f"The request line and the headers have at most {MAX_HEAD_BYTES:,} bytes."
)


@dataclass
class Clients:
    """What the connections of one process share."""

    max_body_bytes: int
    most_connections: int
    origins: tuple[str, ...] = ()
    connections: set[Connection] = field(default_factory=set)
    refused: Counter[int] = field(default_factory=Counter)
    evicted: int = 0
    linger_seconds: float = 5.0
    body_bytes: int = 0  # at least the size of all unfinished bodies

    def end_overdue(self, now: float) -> None:
        """End the connections whose clients have kept them waiting for too long."""
        for connection in [each for each in self.connections if now > each.deadline]:
            connection.time_out()
        self.body_bytes = sum(each.held_bytes for each in self.connections)

    def make_room(self) -> None:
        """End the connections that have waited longest for their clients."""
        self._evict(each for each in self.connections if each.patience < math.inf)

    def hold_body(self, added_bytes: int) -> None:
        """Note that a body has grown. End the oldest ones when all need too much memory."""
        self.body_bytes += added_bytes
        if self.body_bytes > _MOST_BODY_BYTES:
            self._evict(each for each in self.connections if each.held_bytes)
            self.body_bytes = sum(each.held_bytes for each in self.connections)

    def _evict(self, waiting: Iterable[Connection]) -> None:
        oldest = sorted(waiting, key=attrgetter("since"))
        oldest = oldest[: len(oldest) // _EVICTED_SHARE + 1]
        for connection in oldest:
            connection.drop()
        self.evicted += len(oldest)


class _Flow(FlowControl):
    """Let only the connection stop to read, and go on. Uvicorn goes on at each queued request."""

    def pause_reading(self) -> None:
        """Leave it to the connection."""

    resume_reading = pause_reading


class Connection(HttpToolsProtocol):
    """A connection of uvicorn's server. Its answers go through `write` and `close` here."""

    def __init__(self, clients: Clients, **given: Any) -> None:
        """Remember what is shared; uvicorn gives the rest."""
        super().__init__(**given)
        self._clients = clients
        self._wait(_HEAD_SECONDS)
        self._unanswered = 0  # whole requests
        self._answering: RequestResponseCycle | None = None  # the first of them
        self._is_receiving = False  # a request has begun, and is not whole
        self._is_ended = False  # the client sends nothing more
        self._is_ignoring = False  # whatever it sends
        self._is_lingering = False  # the last answer is sent
        self._unfed: bytes | memoryview = b""  # what came while a request was being answered
        self._ignored_bytes = 0
        self._framing_bytes = 0
        self._refusal: Refusal | None = None

    @property
    def deadline(self) -> float:
        """Return the time at which the client will have kept this connection waiting too long."""
        return self.since + self.patience

    @property
    def held_bytes(self) -> int:
        """Return how much of an unfinished body this connection holds."""
        return len(self.cycle.body) if self._is_receiving and self.cycle else 0

    def time_out(self) -> None:
        """End an overdue connection, and tell its client why if it waits for an answer."""
        if self._is_receiving and not self._unanswered and not self._is_lingering:
            self._refuse(_TIMED_OUT)
        else:
            self.drop()

    def drop(self) -> None:
        """Close the connection at once."""
        self.patience = math.inf
        self._is_receiving = False
        self.transport.abort()

    # asyncio calls the methods from here on.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport)
        if len(self.connections) > self._clients.most_connections:
            self._clients.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        # Uvicorn tells only the request that came last.
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_ignoring:
            self._ignored_bytes += len(data)
            if self._ignored_bytes > _IGNORED_BYTES:
                self.drop()
            return
        self._unfed = memoryview(bytes(self._unfed) + data if self._unfed else data)
        if self._unanswered:
            self.transport.pause_reading()
        else:
            self._feed()

    def eof_received(self) -> bool:  # type: ignore[override]
        self._is_ended = True
        if self._is_receiving and not self._unanswered:
            self._refuse(_CUT_OFF)
        return bool(self._unanswered)  # the client may still read its answer

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self._is_lingering:
            self._wait(self._seconds_to_send())

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._is_lingering:
            self._wait(math.inf if self._unanswered else _IDLE_SECONDS)

    # The parser calls the methods from here on. A refusal ends it.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_receiving = True
        self._framing_bytes = 0
        if not self._unanswered:
            self._wait(_HEAD_SECONDS)

    def on_header(self, name: bytes, value: bytes) -> None:
        if "method" not in self.scope:  # or it is a trailer, which nobody has judged
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        length = self._judge_headers()
        super().on_headers_complete()
        self.cycle.transport = self  # type: ignore[assignment]
        if not self._unanswered:
            self._wait(_TRANSFER_SECONDS)
        if length > self._clients.max_body_bytes:
            self._cut(length)

    def _judge_headers(self) -> int:
        """Return the announced length of the body, or raise a refusal."""
        hosts = length = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                raise Refusal(400, "The only accepted transfer encoding is chunked.")
        # HTTP/1.0 has no Host.
        if hosts > 1 or (not hosts and self.parser.get_http_version() != "1.0"):
            raise Refusal(400, "A request has exactly one Host header.")
        return length

    def on_body(self, body: bytes) -> None:
        if self._is_ignoring:
            return
        self._framing_bytes = 0
        self.patience += len(body) / _BYTES_A_SECOND
        self.cycle.body += body
        self._clients.hold_body(len(body))
        if len(self.cycle.body) > self._clients.max_body_bytes:
            self._cut(len(self.cycle.body))

    def on_message_complete(self) -> None:
        if not self._is_ignoring:
            self._is_whole()
            super().on_message_complete()

    def _cut(self, announced_bytes: int) -> None:
        """Let the application refuse a body that is too long: it checks the token before."""
        self.scope["state"]["announced_bytes"] = announced_bytes
        self.cycle.body.clear()
        self.cycle.more_body = self.cycle.keep_alive = self.cycle.waiting_for_100_continue = False
        self.cycle.message_event.set()
        self._is_ignoring = True
        self._unfed = b""
        self._is_whole()

    def _is_whole(self) -> None:
        self._is_receiving = False
        self._unanswered += 1
        self.patience = math.inf

    # The answers of uvicorn call the methods from here on.

    def write(self, data: bytes) -> None:
        """Send a part of an answer, unless an earlier part found the client gone."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def is_closing(self) -> bool:
        """Return whether nothing more can be sent."""
        return self._is_lingering or self.transport.is_closing()

    def close(self) -> None:
        """Close after the client has read. A close with unread input would destroy the answer."""
        self._is_lingering = self._is_ignoring = True
        self._unanswered = 0
        self._unfed = b""
        self._wait(self._clients.linger_seconds + self._seconds_to_send())
        if self._is_ended or self.transport.is_closing():
            self.transport.close()
        else:
            self.transport.write_eof()
            self.transport.resume_reading()

    def on_response_complete(self) -> None:
        if self.is_closing():
            return
        self._unanswered -= 1
        if self.pipeline and (self._unanswered or not self._refusal):
            self._start_asgi_task(*self.pipeline.pop())
        if self._unanswered:
            return
        if self._refusal:
            self._send_refusal(self._refusal)
            return
        if self._is_receiving:
            self._wait(_TRANSFER_SECONDS)
        else:
            self._wait(self._seconds_to_send() if self.flow.write_paused else _IDLE_SECONDS)
        self._feed()
        if not self._unanswered and not self.is_closing():
            self._go_on_reading()

    def shutdown(self) -> None:
        """End now, or after the request that is being received or answered."""
        if not self._unanswered and not self._is_receiving:
            self.transport.close()
        elif self.cycle:
            self.cycle.keep_alive = False
            if not self._unanswered:
                self._wait(_ARRIVAL_SECONDS)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _go_on_reading(self) -> None:
        if not self._is_ended:
            self.transport.resume_reading()
        elif self._is_receiving:
            self._refuse(_CUT_OFF)
        else:
            self.transport.close()

    def _feed(self) -> None:
        """Parse what has come, until a whole request waits for its answer."""
        while self._unfed and not self._unanswered and not self._refusal:
            part, self._unfed = self._unfed[:_PART_BYTES], self._unfed[_PART_BYTES:]
            self._framing_bytes += len(part)
            try:
                self.parser.feed_data(part)
            except httptools.HttpParserUpgrade:
                # The server speaks no other protocol. The request stands, as the last one.
                self.cycle.keep_alive = False
                self._unfed = b""
            except httptools.HttpParserError as error:
                self._refuse(_refusal_of(error, part))
            if self._is_receiving and self._framing_bytes > MAX_HEAD_BYTES:
                self._refuse(_LONG_HEAD)

    def _refuse(self, refusal: Refusal) -> None:
        """Refuse after the answers to the requests before."""
        if not self._refusal:
            self._refusal = refusal
            if not self._unanswered:
                self._send_refusal(refusal)

    def _send_refusal(self, refusal: Refusal) -> None:
        self._clients.refused[refusal.status] += 1
        headers, body = refusal.answer(self.headers or (), self._clients.origins)
        status = f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
        headers += self.server_state.default_headers
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.write(b"".join([status.encode(), *lines, b"\r\n", body]))
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._is_receiving = False
        self.close()

    def _wait(self, seconds: float) -> None:
        """Begin to wait for the client, for so long at most."""
        self.since, self.patience = self.loop.time(), seconds

    def _seconds_to_send(self) -> float:
        """Return how long a client may take for the rest of its answer."""
        unsent = self.transport.get_write_buffer_size()
        return _TRANSFER_SECONDS + unsent / _BYTES_A_SECOND if unsent else 0.0


def _refusal_of(error: httptools.HttpParserError, part: bytes | memoryview) -> Refusal:
    if isinstance(error.__context__, Refusal):
        return error.__context__
    # A client that speaks TLS does not begin with a letter.
    is_invented = isinstance(error, httptools.HttpParserInvalidMethodError)
    return _INVENTED_METHOD if is_invented and bytes(part[:1]).isalpha() else _INVALID
