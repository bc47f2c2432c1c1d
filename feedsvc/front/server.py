"""One web process: accept connections, keep their time limits, and drain at the end."""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import time
from operator import attrgetter
from typing import TYPE_CHECKING

import structlog

from feedsvc.front.connection import Connection, State
from feedsvc.front.pool import Pool
from feedsvc.front.process import Process

if TYPE_CHECKING:
    import socket
    from wsgiref.types import WSGIApplication

    from feedsvc.front.shares import Shares

_log = structlog.get_logger()

_SWEEP_SECONDS = 1.0
# How long a process with more connections waits for one with fewer to accept.
_DEFER_SECONDS = 0.001
# Descriptors for everything else: stores, logs, metrics.
_OTHER_DESCRIPTORS = 128
_MOST_CONNECTIONS = 20_000
# All unfinished bodies of a process together.
_MOST_BODY_BYTES = 128 * 1024 * 1024
# At a limit this share of the connections is evicted at once, so that the search for the oldest
# ones is rare.
_EVICTED_SHARE = 50
# A load balancer sees "not ready" for this long before connections are refused.
_NOTICE_SECONDS = 1.0
# A request that has not arrived by then is ended, so that slow clients do not hold up an end.
_ARRIVAL_SECONDS = 5.0
_DRAIN_SECONDS = 14.0
_DRAIN_STEP_SECONDS = 0.05
_NOT_UNDER_WAY = {State.IDLE, State.LINGERING}
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Server:
    """The server of one process. `run` serves until a signal."""

    def __init__(
        self,
        app: WSGIApplication,
        listeners: list[socket.socket],
        shares: Shares,
        index: int,
        *,
        threads: int,
        max_body_bytes: int,
    ) -> None:
        """Prepare to serve; `index` is this process's number in `shares`."""
        host, port = listeners[0].getsockname()[:2]
        self._loop = asyncio.new_event_loop()
        self._process = Process(
            app=app,
            address=(host, port),
            max_body_bytes=max_body_bytes,
            most_body_bytes=_MOST_BODY_BYTES,
            pool=Pool(threads),
            loop=self._loop,
            make_room=self._evict_bodies,
        )
        self._listeners = listeners
        self._shares = shares
        self._index = index
        self._connections: set[Connection] = set()
        self._most_connections = min(_MOST_CONNECTIONS, raise_descriptors() - _OTHER_DESCRIPTORS)
        self._evicted = 0
        self._drain_started = 0.0

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; return when the requests under way have been answered."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._drain)
        for listener in self._listeners:
            self._loop.add_reader(listener, self._offered, listener)
        self._shares.set(self._index, 0)
        self._sweep()
        self._loop.run_forever()

    def _offered(self, listener: socket.socket) -> None:
        """Accept a connection, unless a process with fewer connections should."""
        if len(self._connections) > self._shares.lowest():
            self._loop.remove_reader(listener)
            self._loop.call_later(_DEFER_SECONDS, self._accept_deferred, listener)
        else:
            self._accept(listener)

    def _accept_deferred(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._accept(listener)
            self._loop.add_reader(listener, self._offered, listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, address = listener.accept()
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                self._evict()
            return
        accepted.setblocking(False)
        self._connections.add(Connection(self._process, accepted, address[0], self._forget))
        self._share()
        if len(self._connections) > self._most_connections:
            self._evict()

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._share()

    def _share(self) -> None:
        if not self._process.is_draining:
            self._shares.set(self._index, len(self._connections))

    def _evict(self) -> None:
        """End the connections that have kept us waiting longest."""
        waiting = [each for each in self._connections if each.state is not State.ANSWERING]
        waiting.sort(key=attrgetter("since"))
        evicted = waiting[: len(self._connections) // _EVICTED_SHARE + 1]
        for connection in evicted:
            connection.drop()
        self._evicted += len(evicted)

    def _evict_bodies(self) -> None:
        """End the unfinished requests that are oldest, until the rest needs little memory."""
        held = sum(each.held_bytes for each in self._connections)
        holding = [each for each in self._connections if each.held_bytes]
        for connection in sorted(holding, key=attrgetter("since")):
            if held <= _MOST_BODY_BYTES // 2:
                break
            held -= connection.held_bytes
            connection.drop()
            self._evicted += 1
        self._process.body_bytes = held

    def _sweep(self) -> None:
        """End overdue connections, and log what was counted, once a second."""
        now = time.monotonic()
        overdue = [each for each in self._connections if each.is_overdue(now)]
        for connection in overdue:
            connection.time_out()
        self._process.body_bytes = sum(each.held_bytes for each in self._connections)
        # One line a second, however many clients there are.
        if self._evicted:
            _log.warning("front.connections_evicted", connections=self._evicted)
        for status, times in self._process.refusals.items():
            _log.warning("front.requests_refused", status=status, requests=times)
        self._evicted = 0
        self._process.refusals.clear()
        self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _drain(self) -> None:
        if self._process.is_draining:
            return
        self._process.is_draining = True
        self._drain_started = time.monotonic()
        self._shares.stop(self._index)  # the other processes accept first
        self._loop.call_later(_NOTICE_SECONDS, self._stop_accepting)

    def _stop_accepting(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        self._finish()

    def _finish(self) -> None:
        """End when nothing is under way, or the time is up."""
        elapsed = time.monotonic() - self._drain_started
        for connection in list(self._connections):
            if connection.state in _NOT_UNDER_WAY:
                connection.drop()
            elif connection.state is State.RECEIVING and elapsed > _ARRIVAL_SECONDS:
                connection.time_out()
        if not self._connections or elapsed > _DRAIN_SECONDS:
            self._loop.stop()
        else:
            self._loop.call_later(_DRAIN_STEP_SECONDS, self._finish)


def raise_descriptors() -> int:
    """Raise the limit of open descriptors as far as this process may, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1_048_576 if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
