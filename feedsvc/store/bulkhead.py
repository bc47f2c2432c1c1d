"""A bulkhead: a store that hangs holds at most half of the threads that answer requests.

A thread that uses a store is slow when the last answer is more than `PATIENCE_SECONDS` old. The
store is suspected once half of the threads are slow, or once a use has failed. While the store is
suspected, at most half of the threads may use it. Every other thread gets `StoreUnavailable` at
once. A use that succeeds ends the suspicion.

Only PostgreSQL has a bulkhead. Redis has a circuit breaker (`store/redis/breaker.py`), because its
commands never take seconds. docs/decisions/0021 compares the two.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.errors import StoreUnavailable
from feedsvc.forks import call_in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 1.0


class Bulkhead:
    """Count the threads of a process that use one store to answer requests."""

    def __init__(
        self, store: str, threads: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Limit the uses of the store to half of `threads`, at least one, while it is suspected."""
        self._store, self._most, self._clock = store, max(1, threads // 2), clock
        # The time of each thread's last answer, or of the beginning of its use.
        self._since: dict[int, float] = {}
        self._lock = threading.Lock()
        self.is_suspected = False
        call_in_child(self._forget_parent)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Use the store in the block. Raises `StoreUnavailable` at once if it seems to hang.

        If the thread uses the store already, the block is a part of that use.
        """
        thread = threading.get_ident()
        if thread in self._since:
            yield
            return
        self._enter(thread)
        try:
            yield
        except StoreUnavailable as error:
            self.is_suspected = self.is_suspected or error.store == self._store
            raise
        else:
            self.is_suspected = False
        finally:
            with self._lock:
                del self._since[thread]

    def answered(self) -> None:
        """Note that the store has answered this thread."""
        thread = threading.get_ident()
        if thread in self._since:
            self._since[thread] = self._clock()

    def may_go_on(self) -> bool:
        """Return whether this thread may go on waiting for the store.

        A waiting thread asks again and again. It has to give up once it is slow and half of the
        threads have waited longer.
        """
        thread = threading.get_ident()
        mine = (self._since.get(thread, self._clock()), thread)
        if not self._is_slow(mine[0]):
            return True
        with self._lock:
            longer = sum((since, other) < mine for other, since in self._since.items())
        return longer < self._most

    def _enter(self, thread: int) -> None:
        with self._lock:
            if self._is_full():
                raise StoreUnavailable(
                    self._store, f"{len(self._since)} requests are waiting for an answer already"
                )
            self._since[thread] = self._clock()

    def _is_full(self) -> bool:
        if len(self._since) < self._most:
            return False
        if not self.is_suspected:
            slow = sum(map(self._is_slow, self._since.values()))
            self.is_suspected = slow >= self._most
        return self.is_suspected

    def _forget_parent(self) -> None:
        self._since, self._lock = {}, threading.Lock()

    def _is_slow(self, since: float) -> bool:
        return self._clock() - since > PATIENCE_SECONDS


@dataclass
class Patience:
    """Limit the wait for one answer of a store, by a time and by the bulkhead."""

    seconds: float
    bulkhead: Bulkhead | None = None

    def is_over(self, began: float, limit: float) -> bool:
        """Return whether a wait has to end. `began` is a time of the monotonic clock."""
        if time.monotonic() - began > limit:
            return True
        return self.bulkhead is not None and not self.bulkhead.may_go_on()

    def answered(self) -> None:
        """Note that the store has answered this thread."""
        if self.bulkhead is not None:
            self.bulkhead.answered()
