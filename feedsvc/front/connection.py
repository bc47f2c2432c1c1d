"""One connection: bytes become whole requests here, and answers become bytes.

The event loop's thread reads, and keeps time. A request thread makes the answer and sends it
itself, as far as the socket takes it at once. The loop sends the rest. So a slow reader holds no
thread. A lock orders the two threads. Only the loop closes the socket, and never while a request
thread has the connection, so a descriptor is never used after its number went to another client.
"""

from __future__ import annotations

import contextvars
import socket
import threading
import time
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

import structlog

from feedsvc.front.answers import Answer, environ_of, refusal_bytes
from feedsvc.front.parser import Parser, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.front.parser import Request
    from feedsvc.front.process import Process

_log = structlog.get_logger()

_READ_BYTES = 65_536
# A request thread hands an answer over when this much of it waits for a slow reader.
_UNSENT_BYTES = 262_144
# After its last answer a connection swallows this much, so that the client can read the answer.
_LINGER_BYTES = 64 * 1024 * 1024

_SILENT_SECONDS = 10.0
_HEAD_SECONDS = 10.0
# nginx closes the idle connections of its pool after 60 s. The side that sends must close first.
_IDLE_SECONDS = 75.0
# A body, and an answer, may take this long, and a second more for each 8 KiB that have moved.
_TRANSFER_SECONDS = 20.0
_BYTES_A_SECOND = 8_192
_LINGER_SECONDS = 5.0
# A client that is gone for this long while its request waits for a thread is not answered.
_PATIENCE_SECONDS = 1.0

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TIMED_OUT = Refusal(408, "Request Timeout", "The request did not arrive in time.")
_CUT_OFF = Refusal(400, "Bad Request", "The connection ended before the request did.")
_BUSY = Refusal(
    503, "Service Unavailable", "Every request thread is busy. Try again in a moment.", 1
)
_FAILED = Refusal(500, "Internal Server Error", "The service failed. Its log has the cause.")


class State(Enum):
    """What a connection waits for."""

    IDLE = auto()  # the next request
    RECEIVING = auto()  # the rest of a request
    ANSWERING = auto()  # a request thread
    SENDING = auto()  # the client, which reads slowly
    LINGERING = auto()  # the end of what the client still sends, all of it ignored
    CLOSED = auto()


class Connection:
    """One client's connection, from its accept to its close."""

    __slots__ = (
        "_answer",
        "_client",
        "_context",
        "_early",
        "_is_ended",
        "_is_gone",
        "_is_reading",
        "_lock",
        "_moved_bytes",
        "_on_close",
        "_parser",
        "_process",
        "_socket",
        "_unsent",
        "since",
        "state",
    )

    def __init__(
        self,
        process: Process,
        accepted: socket.socket,
        client: str,
        on_close: Callable[[Connection], None],
    ) -> None:
        """Begin to read."""
        self.state = State.IDLE
        self.since = time.monotonic()
        self._process = process
        self._on_close = on_close
        self._socket = accepted
        self._client = client
        self._lock = threading.Lock()
        self._parser: Parser | None = None  # a silent connection needs none
        self._early = b""  # what came while an answer was being made
        self._unsent: bytes | memoryview = b""
        self._moved_bytes = 0
        self._is_ended = False  # the client sends nothing more
        self._is_gone = False  # and reads nothing more
        self._is_reading = True
        self._answer: Answer | None = None
        self._context: contextvars.Context | None = None
        process.loop.add_reader(accepted, self._readable)

    # The event loop's thread runs the methods from here on.

    @property
    def held_bytes(self) -> int:
        """Return how much of an unfinished body this connection holds."""
        return self._parser.body_bytes if self._parser else 0

    def is_overdue(self, now: float) -> bool:
        """Return whether the client has kept this connection waiting for too long."""
        elapsed = now - self.since
        if self.state is State.IDLE:
            return elapsed > (_IDLE_SECONDS if self._parser else _SILENT_SECONDS)
        if self.state is State.RECEIVING:
            if self._parser and self._parser.is_in_body:
                return elapsed > _TRANSFER_SECONDS + self.held_bytes / _BYTES_A_SECOND
            return elapsed > _HEAD_SECONDS
        if self.state is State.SENDING:
            return elapsed > _TRANSFER_SECONDS + self._moved_bytes / _BYTES_A_SECOND
        return self.state is State.LINGERING and elapsed > _LINGER_SECONDS

    def time_out(self) -> None:
        """End an overdue connection, and tell its client why if it waits for an answer."""
        if self.state is State.RECEIVING:
            with self._lock:
                self._refuse(_TIMED_OUT)
        else:
            self.drop()

    def drop(self) -> None:
        """Close the connection at once, unless a request thread has it."""
        with self._lock:
            if self.state is State.SENDING:
                self._abandon_answer()
            if self.state is not State.ANSWERING:
                self._close()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        with self._lock:
            if not data:
                self._end_of_input()
            elif self.state is State.LINGERING:
                self._moved_bytes += len(data)
                if self._moved_bytes > _LINGER_BYTES:
                    self._close()
            elif self.state in (State.ANSWERING, State.SENDING):
                self._early += data
                self._stop_reading()
            else:
                self._feed(data)

    def _feed(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = Parser(self._process.max_body_bytes)
        if self.state is State.IDLE:
            self._enter(State.RECEIVING)
        self._parser.feed(data)
        if self._parser.is_in_body:
            self._process.bodies_grew(len(data))
        self._advance(self._parser)

    def _advance(self, parser: Parser) -> None:
        """Do what the parser's state asks for: answer, refuse, or wait for more."""
        if parser.requests:
            request = parser.requests.popleft()
            self._enter(State.ANSWERING)
            job = partial(self._make_answer, request)
            if not self._process.pool.offer(job, is_probe=_is_probe(request)):
                self._refuse(_BUSY)
        elif parser.refusal:
            self._refuse(parser.refusal)
        elif parser.is_quiet:
            self._enter(State.IDLE)
        elif parser.wants_continue:
            parser.wants_continue = False
            self._send(_CONTINUE)

    def _end_of_input(self) -> None:
        self._is_ended = True
        self._stop_reading()
        if self.state is State.RECEIVING:
            # Nothing of a request that was cut off is kept. Its client may still read.
            self._refuse(_CUT_OFF)
        elif self.state not in (State.ANSWERING, State.SENDING):
            self._close()

    def _refuse(self, refusal: Refusal) -> None:
        self._process.refusals[refusal.status] += 1
        self._send(refusal_bytes(refusal))
        self._linger()

    def _linger(self) -> None:
        """Close after the client has read. A close with unread input would destroy the answer."""
        if self.state is State.CLOSED:
            return
        self._enter(State.LINGERING)
        self._early = b""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        if self._is_ended:
            self._close()
        else:
            self._start_reading()

    def _writable(self) -> None:
        with self._lock:
            unsent, self._unsent = self._unsent, b""
            self._send(unsent)
            if self._unsent:
                return
            self._process.loop.remove_writer(self._socket)
            self._enter(State.ANSWERING)
            if self._answer and self._answer.is_complete:
                self._answered(self._answer)
            else:
                self._process.pool.go_on(self._go_on)

    def _resume(self) -> None:
        """Go on with what the client sent while its last request was being answered."""
        with self._lock:
            parser = self._parser
            if self.state is not State.ANSWERING or not parser:
                return
            self._enter(State.RECEIVING)
            if not parser.requests and not parser.refusal:
                early, self._early = self._early, b""
                self._start_reading()
                parser.feed(early)
            self._advance(parser)

    def _end(self) -> None:
        with self._lock:
            self._linger()

    def _wait_for_reader(self) -> None:
        with self._lock:
            if self.state is State.SENDING:
                self._process.loop.add_writer(self._socket, self._writable)

    def _abandon_answer(self) -> None:
        answer, context = self._answer, self._context
        if answer is not None and context is not None and not answer.is_complete:
            # The application may end a transaction, which must not hold the loop up.
            self._process.pool.go_on(partial(context.run, answer.close))

    def _start_reading(self) -> None:
        if not self._is_reading and not self._is_ended:
            self._is_reading = True
            self._process.loop.add_reader(self._socket, self._readable)

    def _stop_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._process.loop.remove_reader(self._socket)

    def _close(self) -> None:
        if self.state is State.CLOSED:
            return
        self._enter(State.CLOSED)
        self._stop_reading()
        self._process.loop.remove_writer(self._socket)
        self._socket.close()
        self._on_close(self)

    # Request threads run the methods from here on.

    def _make_answer(self, request: Request) -> None:
        if self._is_ended and time.monotonic() - self.since > _PATIENCE_SECONDS:
            self._end_soon()
            return
        environ = environ_of(request, self._client, self._process.address)
        keep_alive = request.keep_alive
        if self._process.is_draining:
            environ["feedsvc.draining"] = True
            keep_alive = False
        self._answer = Answer(self._process.app, environ, keep_alive=keep_alive)
        # One thread may begin an answer and another one may end it, with the same variables.
        self._context = contextvars.Context()
        self._run(self._answer, self._context)

    def _go_on(self) -> None:
        """Make more of an answer whose reader has caught up."""
        if self._answer is not None and self._context is not None:
            self._run(self._answer, self._context)

    def _run(self, answer: Answer, context: contextvars.Context) -> None:
        context.run(self._send_answer, answer)
        if self._answer is answer:
            # The loop may let another thread go on at once, so this one has left the context.
            with self._lock:
                self._enter(State.SENDING)
                self._process.soon(self._wait_for_reader)

    def _send_answer(self, answer: Answer) -> None:
        """Make and send pieces, until the answer is complete or its reader is behind."""
        try:
            while self._send_piece(answer, answer.next_piece()):
                pass
        except Exception:  # noqa: BLE001 -- the application answers its own errors
            _log.exception("front.application_failed")
            self._fail(answer)
        if answer.is_complete or self._is_gone:
            answer.close()

    def _send_piece(self, answer: Answer, piece: bytes) -> bool:
        """Send a piece, and return whether this thread should make the next one."""
        with self._lock:
            self._send(piece)
            if self._is_gone:
                self._end_soon()
            elif answer.is_complete and not self._unsent:
                self._answered(answer)
            else:
                return not answer.is_complete and len(self._unsent) < _UNSENT_BYTES
            return False

    def _fail(self, answer: Answer) -> None:
        """End an answer that the application could not make. A cut-off body shows the failure."""
        with self._lock:
            if not answer.has_begun:
                self._send(refusal_bytes(_FAILED))
            answer.is_complete = True
            self._end_soon()

    # Both threads use the methods from here on, and hold the lock.

    def _answered(self, answer: Answer) -> None:
        self._answer = self._context = None
        has_more = bool(self._early) or not (self._parser and self._parser.is_quiet)
        if not answer.keep_alive or (self._is_ended and not has_more):
            self._end_soon()
        elif has_more:
            self._process.soon(self._resume)
        else:
            self._enter(State.IDLE)

    def _end_soon(self) -> None:
        self._answer = self._context = None
        self._process.soon(self._end)

    def _send(self, data: bytes | memoryview) -> None:
        """Send what the socket takes at once, and keep the rest."""
        if self._unsent:
            self._unsent = bytes(self._unsent) + data
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._is_gone = self._is_ended = True
            return
        self._moved_bytes += sent
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]

    def _enter(self, state: State) -> None:
        self.state = state
        self.since = time.monotonic()
        self._moved_bytes = 0


def _is_probe(request: Request) -> bool:
    """Return whether a load balancer asks about this process, which needs no store."""
    path, _, query = request.target.partition(b"?")
    return path == b"/healthz" or (path == b"/readyz" and b"stores=no" in query)
