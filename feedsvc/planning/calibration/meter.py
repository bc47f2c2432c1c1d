"""Processor time of a piece of work: in this process, in Redis, in the database, in the broker."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from celery import Celery

    from feedsvc.store import Stores

_IDLE_SECONDS = 0.5
_PAUSE_SECONDS = 0.02

_MESSAGES = 20
_MESSAGE_SECONDS = 30
# A worker does more with a message than take it: it wakes up, decodes, traces and logs. The broker
# works too. This factor adds their work to the time that `message_us` measures. It was measured
# once, in November 2026, with tasks that did almost nothing. They were sent 20 and 50 ms apart to
# two waiting workers (Redis broker). Eight runs cost 1.36 to 2 times the measured time. The lowest
# factor is used, because other load on a machine only adds to a run.
_WHOLE_MESSAGE = 1.36

_T = TypeVar("_T")


def spaced(units: Iterable[_T]) -> Iterator[_T]:
    """Yield each unit after a pause.

    The pause lets the processor's caches cool, as other work does in production. In a tight loop a
    unit costs little more than half as much (docs/evidence/threshold.md).
    """
    for unit in units:
        time.sleep(_PAUSE_SECONDS)
        yield unit


class Meter:
    """Measures the processor time of work on the stores.

    The background load of Redis, from other clients, is subtracted.
    """

    def __init__(self, stores: Stores) -> None:
        """Measure the background load of Redis for half a second."""
        self._stores = stores
        self._database_seconds = 0.0
        began, busy = time.monotonic(), self._redis_seconds()
        time.sleep(_IDLE_SECONDS)
        self._background = (self._redis_seconds() - busy) / (time.monotonic() - began)

    def us(self, work: Callable[[], object], units: float) -> float:
        """Run the work and return the microseconds of processor time for each unit."""
        return sum(self.parts_us(work, units))

    def parts_us(self, work: Callable[[], object], units: float) -> tuple[float, float]:
        """Run the work. Returns microseconds for each unit: of this process, and of the stores."""
        with self._database_timed():
            began, redis, own = time.monotonic(), self._redis_seconds(), time.process_time()
            work()
            own = time.process_time() - own
            redis = self._redis_seconds() - redis - self._background * (time.monotonic() - began)
        return own / units * 1e6, (max(0.0, redis) + self._database_seconds) / units * 1e6

    def _redis_seconds(self) -> float:
        info: dict[str, float] = self._stores.redis.info("cpu")
        return info["used_cpu_user"] + info["used_cpu_sys"]

    @contextmanager
    def _database_timed(self) -> Iterator[None]:
        """Count the time that this process waits for PostgreSQL as PostgreSQL's processor time.

        PostgreSQL does not report its processor time. SQLite works in this process.
        """
        self._database_seconds = 0.0
        if self._stores.sql.is_sqlite:
            yield
            return
        began: list[float] = []

        def before(*_: Any) -> None:
            began.append(time.monotonic() - time.thread_time())

        def after(*_: Any) -> None:
            self._database_seconds += time.monotonic() - time.thread_time() - began.pop()

        engine = self._stores.sql.engine
        event.listen(engine, "before_cursor_execute", before)
        event.listen(engine, "after_cursor_execute", after)
        try:
            yield
        finally:
            event.remove(engine, "before_cursor_execute", before)
            event.remove(engine, "after_cursor_execute", after)


def message_us(celery: Celery) -> float:
    """Return the microseconds of processor time of a task's message, the broker's included.

    The message is sent as an upload sends it, and taken and acknowledged as a worker does, through
    a temporary queue.
    """
    queue = f"feedsvc.calibration-{os.getpid()}"
    options = {"auto_delete": True, "expires": _MESSAGE_SECONDS}
    began = time.process_time()
    with celery.connection_for_write() as connection:
        producer = celery.amqp.Producer(connection)
        messages = connection.SimpleQueue(queue, queue_opts=options)
        sent: Any = {"queue": messages.queue, "producer": producer, "expires": _MESSAGE_SECONDS}
        try:
            for _ in spaced(range(_MESSAGES)):
                celery.send_task("feedsvc.calibration", (1, 0, "0"), **sent)
                messages.get(timeout=_MESSAGE_SECONDS).ack()
        finally:
            messages.close()  # RabbitMQ then deletes the queue
            messages.queue.delete()  # other brokers need this call
    return _WHOLE_MESSAGE * (time.process_time() - began) / _MESSAGES * 1e6
