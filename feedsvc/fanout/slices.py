"""Cutting a batch of followers into slices, bucket by bucket, and choosing the size of a slice.

On a cluster each bucket has its own progress, in the slot of its feeds, and moves on independently.
A batch moves the cursor of every bucket, also of a bucket without followers, so that all buckets
agree on where the batch ended. A fan-out of one single batch touches only the buckets that have
followers, and the author's own.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc import post_ids
from feedsvc.store.redis.delivery import END, START, WHOLE, Slice, position

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from feedsvc.store.redis.delivery import Lane
    from feedsvc.store.redis.keys import Keys

# A post is in every feed before it is pushed: pushing only makes later reads cheaper. So a young
# fan-out is pushed at full speed. An older one has waited because the workers are overloaded. It
# goes in smaller slices, one round trip each, and readers are served in between.
# docs/decisions/0013 has the gain and the cost.
YOUNG_SECONDS = 1.0
_OLD_SLICE_DIVISOR = 4


@dataclass(frozen=True)
class Batch:
    """The followers after the cursor `start`, ascending, as decimal strings.

    `end` is the last follower, or END if no follower comes after it.
    """

    start: str
    end: str
    followers: Sequence[str]


def is_young(post_id: int) -> bool:
    """Return whether the post is so young that its pushes go before reads."""
    return time.time() - post_ids.seconds_of(post_id) < YOUNG_SECONDS


def size_now(post_id: int, longest: int) -> int:
    """Return how many followers a slice of this post has now, at most `longest`."""
    return longest if is_young(post_id) else max(1, longest // _OLD_SLICE_DIVISOR)


def cut(
    batch: Batch, lane: Lane, keys: Keys, author: int, reached: Mapping[int, str], size: int
) -> list[Slice]:
    """Cut the batch into slices of at most `size` followers.

    `reached` maps a bucket to its cursor if that is not the batch's start: the bucket goes on from
    there.
    """
    followers = keys.by_bucket(batch.followers)
    is_only = lane == WHOLE and (batch.start, batch.end) == (START, END)
    touched = sorted({*followers, keys.bucket(author)}) if is_only else range(keys.buckets)
    return [
        part
        for bucket in touched
        for part in _of_bucket(
            bucket, followers.get(bucket, ()), reached.get(bucket, batch.start), batch, size
        )
    ]


def _of_bucket(
    bucket: int, followers: Sequence[str], start: str, batch: Batch, size: int
) -> Iterator[Slice]:
    """Yield slices, each from the end of the one before. Without followers, yield an empty one."""
    if start != batch.start:
        if position(start) >= position(batch.end):
            return
        followers = followers[bisect_right(followers, int(start), key=int) :]
    last = max(len(followers) - 1, 0) // size
    for number in range(last + 1):
        part = followers[number * size : (number + 1) * size]
        end = batch.end if number == last else part[-1]
        yield Slice(start, end, part, bucket, begins=number == 0)
        start = end
