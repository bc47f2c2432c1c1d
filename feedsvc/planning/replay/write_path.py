"""The write path as queues, in a simulation of discrete events. Pure.

Links and micro-batches wait for a worker, as in `feedsvc.fanout`; their slices wait for Redis. A
worker runs one task at a time. It first spends the task's own seconds. Then the task's slices pass
through Redis one after the other, each behind the slices of other tasks that already wait. Tasks of
the largest accounts have a queue of their own, and idle workers take from the two queues in turn.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from feedsvc.fanout import done, lanes
from feedsvc.fanout.micro_batches import MAX_POSTS
from feedsvc.fanout.queues import GATHER_SECONDS, LARGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from feedsvc.planning.costs import UnitCosts
    from feedsvc.settings import Settings

# The sweep runs every second. So it takes a delivered post off its author's list 0.5 s after the
# post is due, on average.
_TAKE_OFF_SECONDS = done.TAKE_OFF_AFTER.total_seconds() + 0.5


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The workers that push, the sizes of their work in followers, and the unit costs."""

    workers: int
    batch: int
    # Fan-outs up to this size go into micro-batches.
    slice: int
    # Fan-outs above this size wait in a queue of their own.
    large: int
    # Returns the number of lanes of a fan-out to that number of followers.
    lanes: Callable[[int], int]
    # How long a delivered post stays on its author's celebrity list, the sweep's delay included.
    take_off_seconds: float
    # The most posts that a celebrity list holds.
    cap: int
    # The processes that read, and the bytes of the near cache of each.
    readers: int
    near_cache_bytes: int
    costs: UnitCosts

    def slice_seconds(self, push: Push, followers: int) -> list[float]:
        """Return the seconds of pushing each slice of that number of followers.

        The simulation charges all of them to Redis, although `push_us` and `skip_us` also include
        the worker's time.
        There is at least one slice: it pushes into the author's own feed.
        """
        full, rest = divmod(followers, self.slice)
        sizes = [self.slice] * full + [rest] * (rest > 0 or not full)
        share = push.with_feed / push.followers if push.followers else 0.0
        follower_us = share * self.costs.push_us + (1 - share) * self.costs.skip_us
        return [size * follower_us / 1e6 for size in sizes]


def deployment_of(settings: Settings, workers: int, readers: int, costs: UnitCosts) -> Deployment:
    """Return the deployment of the settings, with these numbers of workers and of web processes."""
    return Deployment(
        workers=workers,
        batch=settings.fanout_batch,
        slice=settings.fanout_slice,
        large=LARGE,
        lanes=lambda followers: lanes.count(followers, settings.fanout_batch),
        take_off_seconds=_TAKE_OFF_SECONDS,
        cap=settings.feed_cap,
        readers=readers,
        near_cache_bytes=settings.near_cache_bytes,
        costs=costs,
    )


@dataclass(slots=True)
class Push:
    """One fan-out.

    `with_feed`: the number of followers with a home feed. `done_at`: the time in seconds when the
    last follower with a home feed gets the post.
    """

    author: int
    posted_at: float
    followers: int
    with_feed: int
    done_at: float = inf
    lanes_left: int = 1


class Task:
    """Work that waits for a worker."""

    # Followers of the account, which decide on the queue.
    followers = 0

    def __init__(self) -> None:
        self.enqueued_at = self.begun_at = 0.0
        # The seconds that Redis takes for each slice still to come.
        self.slices: deque[float] = deque()

    def begin(self, path: WritePath) -> float:
        """Fill `slices`, and return the worker's own seconds before the first slice."""
        raise NotImplementedError

    def end(self, path: WritePath) -> None:
        """Record the delivery, and enqueue the next task. Redis has taken all slices."""
        raise NotImplementedError


class Link(Task):
    """A batch of one lane of a large fan-out. `left`: the lane's followers still to come."""

    def __init__(self, push: Push, left: int, *, is_first: bool = False) -> None:
        super().__init__()
        self.followers = push.followers
        self._push, self._left, self._is_first = push, left, is_first

    def begin(self, path: WritePath) -> float:
        """See `Task`. The first link of a fan-out divides the followers into lanes."""
        push, deployment = self._push, path.deployment
        own_us = deployment.costs.link_us
        if self._is_first:
            push.lanes_left = deployment.lanes(push.followers)
            lane = push.followers // push.lanes_left
            for _ in range(push.lanes_left - 1):
                self._left -= lane
                path.enqueue(Link(push, lane))
        size = min(self._left, deployment.batch)
        self._left -= size
        self.slices.extend(deployment.slice_seconds(push, size))
        path.links += 1
        path.follower_ids += size
        return (own_us + size * deployment.costs.follower_us) / 1e6

    def end(self, path: WritePath) -> None:
        """See `Task`."""
        if self._left:
            path.enqueue(Link(self._push, self._left))
            return
        self._push.lanes_left -= 1
        if not self._push.lanes_left:
            self._push.done_at = path.now


class MicroBatch(Task):
    """The small fan-outs that wait when it begins, up to a batch of followers.

    If small fan-outs are left over, another micro-batch follows.
    """

    def __init__(self) -> None:
        super().__init__()
        self._claimed: list[Push] = []
        self._leaves_some = False

    def begin(self, path: WritePath) -> float:
        """See `Task`."""
        path.is_requested = False
        followers = 0
        while path.waiting and len(self._claimed) < MAX_POSTS:
            push = path.waiting[0]
            if self._claimed and followers + push.followers > path.deployment.batch:
                break
            self._claimed.append(path.waiting.popleft())
            followers += push.followers
            self.slices.extend(path.deployment.slice_seconds(push, push.followers))
        if not self._claimed:
            return 0.0
        self._leaves_some = bool(path.waiting)
        path.micro_batches += 1
        path.small_posts += len(self._claimed)
        path.follower_ids += followers
        costs = path.deployment.costs
        posts_us = len(self._claimed) * costs.small_post_us
        return (costs.micro_batch_us + posts_us + followers * costs.follower_us) / 1e6

    def end(self, path: WritePath) -> None:
        """See `Task`."""
        for push in self._claimed:
            push.done_at = path.now
        if self._leaves_some:
            path.enqueue(MicroBatch())


class WritePath:
    """The workers, their two queues, and Redis, which takes one slice at a time."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.now = 0.0
        # Small fan-outs that wait for a micro-batch, and whether one is requested.
        self.waiting: deque[Push] = deque()
        self.is_requested = False
        self.links = self.micro_batches = self.small_posts = self.follower_ids = 0
        # The seconds that each task with work waited for a worker; the seconds of busy workers.
        self.waits = array("d")
        self.busy_seconds = 0.0
        self._idle = deployment.workers
        # Ordinary tasks, and tasks of the largest accounts. `_turn` is the queue to serve next.
        self._queues: tuple[deque[Task], deque[Task]] = (deque(), deque())
        self._turn = 0
        self._at_redis: deque[Task] = deque()
        # Things to do at a later time; the number keeps the order of equal times.
        self._agenda: list[tuple[float, int, Callable[[Task], None], Task]] = []
        self._number = count()

    def run(self, pushes: Iterable[Push]) -> None:
        """Deliver all pushes, given in the order of time."""
        for push in pushes:
            self._run_until(push.posted_at)
            self.now = push.posted_at
            if push.followers > self.deployment.slice:
                self.enqueue(Link(push, push.followers, is_first=True))
                continue
            self.waiting.append(push)
            if not self.is_requested:
                self.is_requested = True
                self._do_after(GATHER_SECONDS, self.enqueue, MicroBatch())
        self._run_until(inf)

    def enqueue(self, task: Task) -> None:
        """Put a task at the end of its queue. An idle worker takes it at once."""
        task.enqueued_at = self.now
        self._queues[task.followers > self.deployment.large].append(task)
        self._start_workers()

    def _run_until(self, seconds: float) -> None:
        while self._agenda and self._agenda[0][0] <= seconds:
            self.now, _, act, task = heappop(self._agenda)
            act(task)

    def _do_after(self, seconds: float, act: Callable[[Task], None], task: Task) -> None:
        heappush(self._agenda, (self.now + seconds, next(self._number), act, task))

    def _start_workers(self) -> None:
        while self._idle and any(self._queues):
            self._idle -= 1
            if not self._queues[self._turn]:
                self._turn = 1 - self._turn
            task = self._queues[self._turn].popleft()
            self._turn = 1 - self._turn
            task.begun_at = self.now
            self._do_after(task.begin(self), self._go_to_redis, task)
            if task.slices:
                self.waits.append(self.now - task.enqueued_at)

    def _go_to_redis(self, task: Task) -> None:
        if not task.slices:
            self._end(task)
            return
        self._at_redis.append(task)
        if len(self._at_redis) == 1:
            self._serve_first()

    def _serve_first(self) -> None:
        """Let Redis take a slice of the first task, which stays first until the slice is done."""
        task = self._at_redis[0]
        self._do_after(task.slices.popleft(), self._serve_next, task)

    def _serve_next(self, served: Task) -> None:
        self._at_redis.popleft()
        is_done = not served.slices
        if not is_done:
            self._at_redis.append(served)
        if self._at_redis:
            self._serve_first()
        if is_done:
            self._end(served)

    def _end(self, task: Task) -> None:
        self._idle += 1
        self.busy_seconds += self.now - task.begun_at
        task.end(self)
        self._start_workers()
