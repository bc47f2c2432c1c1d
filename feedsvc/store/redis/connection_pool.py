"""Connection pools with a circuit breaker, and a limit on the waits of one command.

A command waits at most 0.8 s for an answer. It is then sent once more, on a new connection.

A command of a cluster may ask several nodes in turn. If a node does not answer, the library also
reads the topology from the others. `limited` keeps all these waits together below 2 s.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

from feedsvc.store.redis.breaker import Breaker, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator

# Two tries of a command, with their connections, take less than 2 s.
TIMEOUT_SECONDS = 0.8
# After 1.1 s without an answer a command of a cluster asks no further node. After 1.8 s it fails.
_ASK_SECONDS, _WAIT_SECONDS = 1.1, 1.8

_limit = threading.local()


class ServerPool(redis.ConnectionPool):
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
        """Take a connection back. If it is still open, the server has answered on it."""
        super().release(connection)
        if self.breaker.is_open and connection.is_connected:
            self.breaker.answered()

    def timed_out(self) -> None:
        """Open the breaker, and close the idle connections, because they may be dead too."""
        self.breaker.timed_out()
        self.disconnect(inuse_connections=False)


@contextmanager
def limited() -> Iterator[None]:
    """Keep all waits in the block together below 2 s, also the library's for the topology."""
    if getattr(_limit, "waited", None) is not None:
        yield
        return
    _limit.waited = 0.0
    try:
        yield
    finally:
        _limit.waited = None


def _waited() -> float:
    """Return for how many seconds this thread's command has waited without an answer."""
    return getattr(_limit, "waited", None) or 0.0


def _add_wait(seconds: float) -> None:
    if getattr(_limit, "waited", None) is not None:
        _limit.waited += seconds


class _Node(redis.Connection):
    """A connection to a node of a cluster."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read one answer, within the time that the command has left."""
        seconds = max(0.0, min(float(self.socket_timeout or 0), _WAIT_SECONDS - _waited()))
        if not self._parser.can_read(seconds):
            _add_wait(seconds)
            self.disconnect()  # type: ignore[no-untyped-call]
            raise redis.TimeoutError("Timeout reading from a node of the cluster")
        return super().read_response(*args, **options)


class _TlsNode(_Node, redis.SSLConnection):
    """A connection with TLS to a node of a cluster."""


class NodePool(ServerPool):
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
                _add_wait(TIMEOUT_SECONDS)
            raise
