"""A circuit breaker, for a server that accepts packets and never answers.

A command without an answer opens the breaker, and the next answer closes it. While the breaker is
open, one thread at a time tries the server. Every other thread fails at once, so a server that
hangs holds one thread of a process.

PostgreSQL has a bulkhead instead (`store/bulkhead.py`). docs/decisions/0021 compares the two.
"""

from __future__ import annotations

import threading
import time

import redis

# The pause after each try without an answer.
_PAUSE_SECONDS = 0.3
# A try that has lasted this long is over: another thread may try.
_TRY_SECONDS = 2.0


class NoAnswer(redis.ConnectionError):
    """The server did not answer another thread a moment ago."""

    def __init__(self) -> None:
        super().__init__("the server did not answer in time a moment ago")


class Breaker:
    """Decide which thread may use a server. All threads of a process share one breaker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_open = False
        self._next_try_at = 0.0

    def enter(self) -> None:
        """Take the next try while the breaker is open. Raises `NoAnswer` if it is not due."""
        with self._lock:
            at = time.monotonic()
            if not self.is_open:
                return
            if at < self._next_try_at:
                raise NoAnswer
            self._next_try_at = at + _TRY_SECONDS

    def timed_out(self) -> None:
        """Open the breaker. The first try after that may begin at once."""
        with self._lock:
            pause = _PAUSE_SECONDS if self.is_open else 0.0
            self.is_open, self._next_try_at = True, time.monotonic() + pause

    def answered(self) -> None:
        """Close the breaker."""
        with self._lock:
            self.is_open = False
