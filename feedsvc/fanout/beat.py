"""Beat's schedule, by a clock that nobody can set.

Celery's own schedulers compare times of the host's clock. After the clock is set back they send
nothing until it has caught up. And an `expires` is a time of beat's clock, by which a worker with
another clock throws messages away. So no message of beat expires. Beat counts the messages that
wait instead, and sends no more while a few do. So messages do not pile up while no worker runs.
"""

from __future__ import annotations

import time
from typing import Any

from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule

from feedsvc.fanout.queues import SWEEP_QUEUE

# All periodic tasks wait in one queue. A worker that comes back runs this many at most at once.
MOST_WAITING = 10


class MonotonicScheduler(Scheduler):
    """Send each periodic task at its interval. Several of these may run at once without harm."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._due: dict[str, float] = {}
        super().__init__(*args, **more)

    def setup_schedule(self) -> None:
        """Take the tasks of the settings, and none of Celery's own."""
        self.merge_inplace(self.app.conf.beat_schedule)

    def tick(self, *_args: Any, **_more: Any) -> float:
        """Send what is due. Returns the seconds until something is due again."""
        for name, entry in self.schedule.items():
            if self._due.get(name, 0.0) <= time.monotonic():
                self._due[name] = time.monotonic() + _interval(entry)
                self.apply_entry(entry, producer=self.producer)
        return max(0.0, min(self._due.values()) - time.monotonic())

    def apply_async(self, entry: ScheduleEntry, *args: Any, **more: Any) -> Any:
        """Send a task, unless enough messages wait already."""
        return super().apply_async(entry, *args, **more) if self._has_room() else None

    def _has_room(self) -> bool:
        # Each count has a connection of its own. One that is kept would stay dead after the broker
        # has restarted, because only a publisher connects anew.
        with self.app.connection_for_write() as connection:
            try:
                with connection.channel() as channel:
                    # Kombu's types lack `queue_declare`, but each transport's channel has it.
                    declare: Any = channel.queue_declare  # type: ignore[attr-defined]
                    declared = declare(SWEEP_QUEUE, passive=True)
            except connection.channel_errors:
                return True  # no queue yet
        return int(declared.message_count) < MOST_WAITING


def _interval(entry: ScheduleEntry) -> float:
    assert isinstance(entry.schedule, schedule), "every task of the settings has an interval"
    return float(entry.schedule.seconds)
