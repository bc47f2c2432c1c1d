"""What a worker does at a time: a link of a large fan-out, or a round of small ones, as in `feedsvc.fanout`. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from feedsvc.fanout.micro_batches import MAX_POSTS

if TYPE_CHECKING:
    from feedsvc.planning.replay.deployment import Deployment, Push


class Workshop(Protocol):
    """What tasks know of where they run."""

    now: float
    plant: Deployment
    # Small fan-outs for the next round, and whether one is asked for.
    waiting: deque[Push]
    is_asked: bool
    # What has been done so far.
    links: int
    small_posts: int
    rounds: int
    follower_ids: int

    def enqueue(self, task: Task) -> None:
        """Put a task at the end of its queue."""


class Task:
    """Something that waits for a worker."""

    followers = 0

    def __init__(self) -> None:
        self.asked_at = self.begun_at = 0.0
        # The store's seconds for each slice that has not been through it.
        self.slices: deque[float] = deque()

    def begin(self, shop: Workshop) -> float:
        """Fill `slices`; returns the worker's own seconds before the first of them."""
        raise NotImplementedError

    def end(self, shop: Workshop) -> None:
        """All slices are through the store."""
        raise NotImplementedError


class Link(Task):
    """A batch of one lane of a large fan-out; the next link, if `left` followers of the lane are more than that."""

    def __init__(self, push: Push, left: int, *, is_first: bool = False) -> None:
        super().__init__()
        self.followers = push.followers
        self._push, self._left, self._is_first = push, left, is_first

    def begin(self, shop: Workshop) -> float:
        """See `Task`. The first link of all divides the followers into lanes."""
        costs = shop.plant.costs
        own_us = costs.link_us
        if self._is_first:
            own_us += costs.fanout_us
            self._divide(shop)
        size = min(self._left, shop.plant.batch)
        self._left -= size
        shop.links += 1
        shop.follower_ids += size
        self.slices.extend(shop.plant.slices(self._push, size))
        return (own_us + size * costs.follower_id_us) / 1e6

    def end(self, shop: Workshop) -> None:
        """See `Task`."""
        if self._left:
            shop.enqueue(Link(self._push, self._left))
            return
        self._push.lanes_left -= 1
        if not self._push.lanes_left:
            self._push.done_at = shop.now

    def _divide(self, shop: Workshop) -> None:
        push = self._push
        push.lanes_left = shop.plant.lanes(push.followers)
        of_a_lane = push.followers // push.lanes_left
        for _ in range(push.lanes_left - 1):
            self._left -= of_a_lane
            shop.enqueue(Link(push, of_a_lane))


class Round(Task):
    """The small fan-outs that wait when it begins, up to a batch of followers. One that left any is followed by another."""

    def __init__(self) -> None:
        super().__init__()
        self._claimed: list[Push] = []
        self._left_any = False

    def begin(self, shop: Workshop) -> float:
        """See `Task`."""
        shop.is_asked = False
        self._claim(shop)
        self._left_any = bool(shop.waiting)
        followers = sum(push.followers for push in self._claimed)
        for push in self._claimed:
            self.slices.extend(shop.plant.slices(push, push.followers))
        shop.small_posts += len(self._claimed)
        shop.follower_ids += followers
        if not self._claimed:
            return 0.0
        shop.rounds += 1
        costs = shop.plant.costs
        posts_us = len(self._claimed) * (costs.fanout_us + costs.small_fanout_us)
        return (costs.round_us + posts_us + followers * costs.follower_id_us) / 1e6

    def end(self, shop: Workshop) -> None:
        """See `Task`."""
        for push in self._claimed:
            push.done_at = shop.now
        if self._left_any:
            shop.enqueue(Round())

    def _claim(self, shop: Workshop) -> None:
        room = shop.plant.batch
        while shop.waiting and len(self._claimed) < MAX_POSTS:
            room -= shop.waiting[0].followers
            if room < 0 and self._claimed:
                return
            self._claimed.append(shop.waiting.popleft())
