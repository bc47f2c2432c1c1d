"""A bulkhead: a store that hangs holds at most half of the threads that answer requests.

A use of a store is slow when it has lasted longer than `PATIENCE_SECONDS`. As long as fewer than
half of the threads are in slow uses, every thread may use the store. From then on the store is
suspected: a thread that would be one too many gets `StoreUnavailable` at once. While a store is
suspected, at most half of the threads may use it. A use that succeeds ends the suspicion.
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
    """The uses of one store by the threads of a process that answer requests."""

    def __init__(
        self, store: str, threads: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Limit the uses of the store to half of `threads`, at least one, while it is suspected."""
        self._store, self._most, self._clock = store, max(1, threads // 2), clock
        # When each thread began its use. The oldest use comes first.
        self._began: dict[int, float] = {}
        self._lock = threading.Lock()
        self.is_suspected = False
        call_in_child(self._forget_parent)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Use the store in the block. Raises `StoreUnavailable` at once if it seems to hang.

        A use inside another one of the same thread is part of that use.
        """
        thread = threading.get_ident()
        if thread in self._began:
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
                del self._began[thread]

    def may_go_on(self) -> bool:
        """Return whether this thread may go on waiting for the store.

        A thread that waits asks again and again. It has to give up its use when its use is slow
        and half of the threads are in older slow uses.
        """
        thread = threading.get_ident()
        if thread not in self._began or not self._is_slow(self._began[thread]):
            return True
        with self._lock:
            older = list(self._began).index(thread)
        return older < self._most

    def _enter(self, thread: int) -> None:
        with self._lock:
            if self._is_full():
                raise StoreUnavailable(
                    self._store, f"{len(self._began)} requests are waiting for an answer already"
                )
            self._began[thread] = self._clock()

    def _is_full(self) -> bool:
        if len(self._began) < self._most:
            return False
        if not self.is_suspected:
            slow = sum(map(self._is_slow, self._began.values()))
            self.is_suspected = slow >= self._most
        return self.is_suspected

    def _forget_parent(self) -> None:
        self._began, self._lock = {}, threading.Lock()

    def _is_slow(self, began: float) -> bool:
        return self._clock() - began > PATIENCE_SECONDS


@dataclass
class Patience:
    """How long a thread waits for one answer of a store: a time, and what the bulkhead allows."""

    seconds: float
    bulkhead: Bulkhead | None = None

    def is_over(self, began: float, limit: float) -> bool:
        """Return whether a wait that began then, by the monotonic clock, has to end."""
        if time.monotonic() - began > limit:
            return True
        return self.bulkhead is not None and not self.bulkhead.may_go_on()
