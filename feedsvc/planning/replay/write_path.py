"""The write path as queues: links and rounds wait for a worker, their slices for the store. Pure; a discrete-event simulation.

A worker holds one task at a time: it spends the task's own seconds, then the task's slices go through the store one after the
other, each behind those of other tasks that wait there. The tasks of the largest accounts have a queue of their own, and idle workers
take from the two in turn.
"""

from __future__ import annotations

from array import array
from collections import deque
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from feedsvc.fanout.queues import GATHER_SECONDS
from feedsvc.planning.replay.jobs import Link, Round

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from feedsvc.planning.replay.deployment import Deployment, Push
    from feedsvc.planning.replay.jobs import Task


class WritePath:
    """A simulation of the write path; see `Workshop` for what its tasks use of it."""

    def __init__(self, plant: Deployment) -> None:
        self.plant = plant
        self.now = 0.0
        self.waiting: deque[Push] = deque()
        self.is_asked = False
        # How long each task that found work waited for a worker, and how many seconds workers held tasks.
        self.waits = array("d")
        self.busy_seconds = 0.0
        self.links = self.small_posts = self.rounds = self.follower_ids = 0
        self._idle = plant.workers
        # Ordinary tasks, and those of the largest accounts; the queue that was served longer ago comes first.
        self._queues: tuple[deque[Task], deque[Task]] = (deque(), deque())
        self._turn = 0
        self._at_store: deque[Task] = deque()
        self._order = count()
        self._agenda: list[tuple[float, int, Callable[[Task], None], Task]] = []

    def run(self, pushes: Iterable[Push]) -> None:
        """Push all of these, which are in the order of time, to the last follower of each."""
        for push in pushes:
            self._go_on_until(push.posted_at)
            self.now = push.posted_at
            self._post(push)
        self._go_on_until(inf)

    def enqueue(self, task: Task) -> None:
        """Put a task at the end of its queue; an idle worker takes it at once."""
        task.asked_at = self.now
        self._queues[task.followers > self.plant.large].append(task)
        self._put_to_work()

    def _post(self, push: Push) -> None:
        if not self.plant.is_small(push.followers):
            self.enqueue(Link(push, push.followers, is_first=True))
            return
        self.waiting.append(push)
        if not self.is_asked:
            self.is_asked = True
            self._after(GATHER_SECONDS, self.enqueue, Round())

    def _go_on_until(self, seconds: float) -> None:
        while self._agenda and self._agenda[0][0] <= seconds:
            self.now, _, what, task = heappop(self._agenda)
            what(task)

    def _after(self, seconds: float, what: Callable[[Task], None], task: Task) -> None:
        heappush(self._agenda, (self.now + seconds, next(self._order), what, task))

    def _put_to_work(self) -> None:
        while self._idle and any(self._queues):
            self._idle -= 1
            task = self._next()
            task.begun_at = self.now
            self._after(task.begin(self), self._to_store, task)
            if task.slices:
                self.waits.append(self.now - task.asked_at)

    def _next(self) -> Task:
        queue = self._queues[self._turn] or self._queues[1 - self._turn]
        self._turn = 1 if queue is self._queues[0] else 0
        return queue.popleft()

    def _to_store(self, task: Task) -> None:
        if not task.slices:
            self._end(task)
            return
        self._at_store.append(task)
        if len(self._at_store) == 1:
            self._serve()

    def _serve(self) -> None:
        """The store takes a slice of the task that has waited longest, which stays first in line until the slice is through."""
        self._after(self._at_store[0].slices.popleft(), self._served, self._at_store[0])

    def _served(self, task: Task) -> None:
        self._at_store.popleft()
        has_more = bool(task.slices)
        if has_more:
            self._at_store.append(task)
        if self._at_store:
            self._serve()
        if not has_more:
            self._end(task)

    def _end(self, task: Task) -> None:
        self._idle += 1
        self.busy_seconds += self.now - task.begun_at
        task.end(self)
        self._put_to_work()
