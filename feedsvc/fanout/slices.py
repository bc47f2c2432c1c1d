"""Cut a batch of followers into slices, bucket by bucket, and choose the size of a slice.

On a cluster each bucket has its own progress cursor, in the hash slot of its home lists. A batch
moves the cursor of every bucket, even if the bucket has no follower in it. So all cursors are equal
after a batch. A fan-out of a single batch touches only the buckets that have followers, and the
author's own bucket.
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

# Followers see the post before the push, through the celebrity list. So a push is never urgent. Up
# to this long after the upload, slices are delivered at full speed. Later the workers are probably
# behind, or the fan-out is long. Slices are then a quarter as large, one round trip each, so that
# Redis serves readers in between. docs/decisions/0013 has the gain and the cost.
YOUNG_SECONDS = 1.0
_OLD_SLICE_DIVISOR = 4


@dataclass(frozen=True)
class Batch:
    """The followers after the cursor `start`, in ascending numeric order, as decimal strings.

    `end` is the last follower, or END if no follower comes after it.
    """

    start: str
    end: str
    followers: Sequence[str]


def is_young(post_id: int) -> bool:
    """Return whether the post is less than `YOUNG_SECONDS` old."""
    return time.time() - post_ids.seconds_of(post_id) < YOUNG_SECONDS


def size_now(post_id: int, longest: int) -> int:
    """Return the slice size to use now: `longest` for a young post, a quarter of it later."""
    return longest if is_young(post_id) else max(1, longest // _OLD_SLICE_DIVISOR)


def cut(
    batch: Batch, lane: Lane, keys: Keys, author: int, reached: Mapping[int, str], size: int
) -> list[Slice]:
    """Cut the batch into slices of at most `size` followers.

    `reached` has the known cursors. The slices of a bucket start at its cursor, or at the batch's
    start if the bucket is not in `reached`.
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
    """Yield the bucket's slices in order.

    A bucket without followers gets one empty slice, which only moves its cursor. A bucket whose
    cursor is at or past the batch's end gets none.
    """
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
