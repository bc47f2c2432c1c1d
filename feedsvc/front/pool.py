"""The threads that call the application, and the bounded queue in front of them."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger()

# At 1 ms a request and 8 threads a full queue is a wait of about 0.1 s.
MAX_WAITING = 128


class Pool:
    """Request threads, and one more for probes, which must be answered while all others hang."""

    def __init__(self, threads: int) -> None:
        """Start the threads."""
        self._requests = _Threads("request", threads)
        self._probes = _Threads("probe", 1)

    def offer(self, job: Callable[[], None], *, is_probe: bool = False) -> bool:
        """Run a job on a thread, and return whether there was room for it."""
        return (self._probes if is_probe else self._requests).offer(job, MAX_WAITING)

    def go_on(self, job: Callable[[], None]) -> None:
        """Run a job that continues an answer. Every answer has begun in `offer`."""
        self._requests.offer(job, None)


class _Threads:
    """Threads that take jobs. The thread that became idle last takes the next one.

    A few warm threads serve light traffic, and the others stay asleep. A shared queue wakes all in
    turn, which takes more processor time.
    """

    def __init__(self, name: str, count: int) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._idle: list[_Idle] = []
        for number in range(count):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def offer(self, job: Callable[[], None], most_waiting: int | None) -> bool:
        with self._lock:
            if self._idle:
                thread = self._idle.pop()
                thread.job = job
                thread.wake.release()
                return True
            if most_waiting is not None and len(self._waiting) >= most_waiting:
                return False
            self._waiting.append(job)
            return True

    def _work(self) -> None:
        me = _Idle()
        while True:
            with self._lock:
                job = self._waiting.popleft() if self._waiting else None
                if job is None:
                    self._idle.append(me)
            if job is None:
                me.wake.acquire()
                job, me.job = me.job, None
            try:
                assert job is not None
                job()
            except Exception:  # noqa: BLE001 -- a thread outlives every request
                _log.exception("front.job_failed")
            # Without this the thread would hold its last request's objects while it waits.
            del job


class _Idle:
    """A thread that waits for a job."""

    __slots__ = ("job", "wake")

    def __init__(self) -> None:
        self.job: Callable[[], None] | None = None
        self.wake = threading.Lock()
        self.wake.acquire()
