"""A connection pool with a circuit breaker, for a server that accepts packets and never answers.

A command waits at most 0.8 s for an answer. It is then sent once more, on a new connection. The
server is suspected from the first command without an answer until the next answer. While it is
suspected one thread at a time tries it. Every other thread fails at once, so a server that hangs
holds one thread of a process.

A command of a cluster may ask several nodes in turn, and read the topology from others when one
does not answer. `limited` keeps all of that below 2 s.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

# Two tries of a command, with their connections, take less than 2 s.
TIMEOUT_SECONDS = 0.8
# How long a suspected server is left alone after it did not answer.
_PAUSE_SECONDS = 0.3
# How long other threads wait for the outcome of a try. Longer than a try can take.
_TRY_SECONDS = 2.0
# A command of a cluster that has waited this long in vain asks no other node, and waits for none.
_ASK_SECONDS, _WAIT_SECONDS = 1.1, 1.8

_limit = threading.local()


class NoAnswer(redis.ConnectionError):
    """The server did not answer another thread a moment ago."""

    def __init__(self) -> None:
        super().__init__("the server did not answer in time a moment ago")


class Breaker:
    """Decides which thread may use a server. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_open = False
        self._next_try_at = 0.0

    def enter(self) -> None:
        """Take the next try of a suspected server. Raises `NoAnswer` if another thread has it."""
        with self._lock:
            at = time.monotonic()
            if not self.is_open:
                return
            if at < self._next_try_at:
                raise NoAnswer
            self._next_try_at = at + _TRY_SECONDS

    def timed_out(self) -> None:
        """Suspect the server. The thread that finds this out may try again at once."""
        with self._lock:
            pause = _PAUSE_SECONDS if self.is_open else 0.0
            self.is_open, self._next_try_at = True, time.monotonic() + pause

    def answered(self) -> None:
        """Trust the server again."""
        with self._lock:
            self.is_open = False


class Pool(redis.ConnectionPool):
    """The connections to one server."""

    def reset(self) -> None:
        """Begin without connections: in a new pool, and in a forked process."""
        self.breaker = Breaker()
        super().reset()

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """Return a connection that is ready for a command. Raises `NoAnswer`."""
        if self.breaker.is_open:
            self.breaker.enter()
        try:
            return super().get_connection()
        except redis.TimeoutError:
            self.timed_out()
            raise

    def release(self, connection: Any) -> None:
        """Take a connection back. If it was not closed, the server has answered on it."""
        super().release(connection)
        if self.breaker.is_open and connection.is_connected:
            self.breaker.answered()

    def timed_out(self) -> None:
        """Suspect the server, and close the idle connections: they may be dead without a sign."""
        self.breaker.timed_out()
        self.disconnect(inuse_connections=False)


@contextmanager
def limited() -> Iterator[None]:
    """Keep the waits in the block below 2 s: those of a command, and of what the library adds."""
    if getattr(_limit, "waited", None) is not None:
        yield
        return
    _limit.waited = 0.0
    try:
        yield
    finally:
        _limit.waited = None


def _waited() -> float:
    """Return how long the command of this thread has waited in vain."""
    return getattr(_limit, "waited", None) or 0.0


def _waited_in_vain(seconds: float) -> None:
    if getattr(_limit, "waited", None) is not None:
        _limit.waited += seconds


class _Node(redis.Connection):
    """A connection to a node of a cluster."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read one answer. Wait for it no longer than the command may wait."""
        seconds = max(0.0, min(float(self.socket_timeout or 0), _WAIT_SECONDS - _waited()))
        if not self._parser.can_read(seconds):
            _waited_in_vain(seconds)
            self.disconnect()  # type: ignore[no-untyped-call]
            raise redis.TimeoutError("Timeout reading from a node of the cluster")
        return super().read_response(*args, **options)


class _TlsNode(_Node, redis.SSLConnection):
    """The same with TLS."""


class NodePool(Pool):
    """The connections to one node of a cluster."""

    def __init__(self, **options: Any) -> None:
        is_tls = options.pop("connection_class", None) is redis.SSLConnection
        super().__init__(connection_class=_TlsNode if is_tls else _Node, **options)

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """Return a connection. Raises `NoAnswer`, also if the command has waited too long."""
        before = _waited()
        if before > _ASK_SECONDS:
            raise NoAnswer
        try:
            return super().get_connection()
        except redis.TimeoutError:
            if _waited() == before:  # it did not even connect
                _waited_in_vain(TIMEOUT_SECONDS)
            raise
