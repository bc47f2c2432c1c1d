"""What a replay pushes with, and what it pushes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.planning.costs import UnitCosts


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What does the pushing: workers, the sizes of their work in followers, and its unit costs."""

    workers: int
    batch: int
    slice: int
    # A fan-out to more followers waits in a queue of its own.
    large: int
    # How many lanes a fan-out to so many followers has.
    lanes: Callable[[int], int]
    # How long a post that every feed has is still on its author's list, the sweep's own delay included.
    kept_seconds: float
    # The longest that a celebrity list grows.
    cap: int
    costs: UnitCosts

    def is_small(self, followers: int) -> bool:
        """Whether a fan-out is one slice, and so goes in a round."""
        return followers <= self.slice

    def slices(self, push: Push, followers: int) -> list[float]:
        """The store's seconds for each slice of so many followers of a fan-out: one at least, which holds the author's own feed."""
        full, rest = divmod(followers, self.slice)
        sizes = [self.slice] * full + [rest] * (rest > 0 or not full)
        per_follower_us = push.share * self.costs.push_us + (1 - push.share) * self.costs.skip_us
        return [size * per_follower_us / 1e6 for size in sizes]


@dataclass(slots=True)
class Push:
    """One fan-out. `with_feed`: the followers who have a feed; `done_at` (seconds): when the last of them has the post."""

    author: int
    posted_at: float
    followers: int
    with_feed: int
    done_at: float = inf
    lanes_left: int = 1

    @property
    def share(self) -> float:
        """The share of the followers who have a feed."""
        return self.with_feed / self.followers if self.followers else 0.0
