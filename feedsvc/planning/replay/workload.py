"""Posts and reads to replay, in the order of time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from array import array


@dataclass(frozen=True, kw_only=True)
class Workload:
    """When (seconds, ascending) which account (by number, see `FollowGraph`) posts and reads, and who has a stored feed."""

    post_seconds: array[float]
    authors: array[int]
    read_seconds: array[float]
    readers: array[int]
    # 1 for each account whose home feed is materialised: pushes to any other are skipped.
    has_feed: bytearray
    # How many posts each account has made before.
    posts_before: array[int]

    def __len__(self) -> int:
        return len(self.post_seconds) + len(self.read_seconds)

    @property
    def end_seconds(self) -> float:
        """When the last event happens; 0 if nothing does."""
        return max(self.post_seconds[-1:].tolist() + self.read_seconds[-1:].tolist(), default=0.0)

    @property
    def start_seconds(self) -> float:
        """When the first event happens; 0 if nothing does."""
        return min(self.post_seconds[:1].tolist() + self.read_seconds[:1].tolist(), default=0.0)
