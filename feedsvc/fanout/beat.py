"""Schedule beat's tasks by the monotonic clock.

Celery's own schedulers compare times of the wall clock. If the clock is set back, they send nothing
until it has caught up. Messages with `expires` depend on two wall clocks: a worker whose clock is
ahead of beat's would discard them. So beat's messages do not expire. Instead, beat sends nothing
while `MOST_WAITING` messages wait in the queue, so that messages do not pile up without a worker.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule

from feedsvc.errors import StoreUnavailable
from feedsvc.fanout.broker import ADVICE, count_waiting, errors_named
from feedsvc.fanout.queues import SWEEP_QUEUE

_log = structlog.get_logger()

# In messages of all periodic tasks, which share one queue. A worker that starts after a long pause
# finds at most this many.
MOST_WAITING = 10


class MonotonicScheduler(Scheduler):
    """Send each periodic task at its interval. Several beats may run at once without harm."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._due: dict[str, float] = {}
        super().__init__(*args, **more)

    def setup_schedule(self) -> None:
        """Schedule the tasks of the settings, and none of Celery's own tasks."""
        self.merge_inplace(self.app.conf.beat_schedule)

    def tick(self, *_args: Any, **_more: Any) -> float:
        """Send the due tasks. Returns the seconds until the next task is due."""
        for name, entry in self.schedule.items():
            if self._due.get(name, 0.0) <= time.monotonic():
                self._due[name] = time.monotonic() + _interval(entry)
                self.apply_entry(entry, producer=self.producer)
        return max(0.0, min(self._due.values()) - time.monotonic())

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send a task, unless `MOST_WAITING` messages wait already.

        A broker that is away or refuses is one line in the log. The task is due again later.
        """
        try:
            with errors_named():
                if self._has_room():
                    self.send_task(entry.task, producer=producer)
        except StoreUnavailable as error:
            _log.error("beat.task_not_sent", task=entry.task, cause=error.cause, advice=ADVICE)

    def _has_room(self) -> bool:
        # Open a connection for each count. A pooled connection would stay dead after a restart of
        # the broker, because only publishers reconnect.
        with self.app.connection_for_write() as connection:
            return count_waiting(connection, SWEEP_QUEUE) < MOST_WAITING


def _interval(entry: ScheduleEntry) -> float:
    assert isinstance(entry.schedule, schedule), "every task of the settings has an interval"
    return float(entry.schedule.seconds)
