"""Schedule beat's tasks by the monotonic clock.

Celery's own schedulers compare times of the wall clock. If the clock is set back, they send nothing
until it has caught up. Messages with `expires` depend on two wall clocks: a worker whose clock is
ahead of beat's would discard them. So beat's messages do not expire. Instead, beat sends nothing
while `MOST_WAITING` messages wait in the queue, so that messages do not pile up without a worker.
"""

from __future__ import annotations

import time
from typing import Any

from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule

from feedsvc.fanout.broker import count_waiting
from feedsvc.fanout.queues import SWEEP_QUEUE

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

    def apply_async(self, entry: ScheduleEntry, *args: Any, **more: Any) -> Any:
        """Send a task, unless `MOST_WAITING` messages wait already."""
        return super().apply_async(entry, *args, **more) if self._has_room() else None

    def _has_room(self) -> bool:
        # Open a connection for each count. A pooled connection would stay dead after a restart of
        # the broker, because only publishers reconnect.
        with self.app.connection_for_write() as connection:
            return count_waiting(connection, SWEEP_QUEUE) < MOST_WAITING


def _interval(entry: ScheduleEntry) -> float:
    assert isinstance(entry.schedule, schedule), "every task of the settings has an interval"
    return float(entry.schedule.seconds)
