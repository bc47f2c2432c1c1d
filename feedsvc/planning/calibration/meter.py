"""Processor time of a piece of work: of this process, of Redis, and of the database if it is another process."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from feedsvc.store import Stores

_IDLE_SECONDS = 0.5
_PAUSE_SECONDS = 0.02

_T = TypeVar("_T")


def spaced(units: Iterable[_T]) -> Iterator[_T]:
    """These, each after a pause. What comes alone finds a processor that has done something else meanwhile, and costs more for it."""
    for unit in units:
        time.sleep(_PAUSE_SECONDS)
        yield unit


class Meter:
    """Measures on these stores. What else Redis is busy with meanwhile is measured first, and taken off."""

    def __init__(self, stores: Stores) -> None:
        """Waits half a second, to see what is going on."""
        self._stores = stores
        self._waited = 0.0
        began, busy = time.monotonic(), self._redis_seconds()
        time.sleep(_IDLE_SECONDS)
        self._background = (self._redis_seconds() - busy) / (time.monotonic() - began)

    def us(self, work: Callable[[], object], units: float) -> float:
        """Microseconds of processor time for each unit of the work."""
        return sum(self.parts_us(work, units))

    def parts_us(self, work: Callable[[], object], units: float) -> tuple[float, float]:
        """The same in two parts: of this process, and of the stores."""
        with self._database_is_watched():
            began, redis, own = time.monotonic(), self._redis_seconds(), time.process_time()
            work()
            own = time.process_time() - own
            redis = self._redis_seconds() - redis - self._background * (time.monotonic() - began)
        return own / units * 1e6, (max(0.0, redis) + self._waited) / units * 1e6

    def _redis_seconds(self) -> float:
        info: dict[str, float] = self._stores.redis.info("cpu")
        return info["used_cpu_user"] + info["used_cpu_sys"]

    @contextmanager
    def _database_is_watched(self) -> Iterator[None]:
        """PostgreSQL works while this process waits, and tells nobody how long: the wait is taken for its work."""
        self._waited = 0.0
        if self._stores.sql.is_sqlite:
            yield
            return
        began: list[float] = []

        def before(*_: Any) -> None:
            began.append(time.monotonic() - time.thread_time())

        def after(*_: Any) -> None:
            self._waited += time.monotonic() - time.thread_time() - began.pop()

        engine = self._stores.sql.engine
        event.listen(engine, "before_cursor_execute", before)
        event.listen(engine, "after_cursor_execute", after)
        try:
            yield
        finally:
            event.remove(engine, "before_cursor_execute", before)
            event.remove(engine, "after_cursor_execute", after)
