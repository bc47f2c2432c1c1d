"""Cutting a batch of followers into slices, bucket by bucket. Pure.

On a cluster each bucket has a progress of its own, in the slot of its feeds, and moves on by itself. A batch touches every bucket, if
only to move its cursor, so that the buckets agree on where the batch ended; but the fan-out of one single batch touches no more than
the buckets that have followers, and the author's own.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.store.redis.delivery import END, START, WHOLE, Slice, position

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from feedsvc.store.redis.delivery import Lane
    from feedsvc.store.redis.keys import Keys


@dataclass(frozen=True)
class Batch:
    """The followers behind the cursor `start`, ascending, as decimal strings; `end` is the last of them, or END."""

    start: str
    end: str
    followers: Sequence[str]


def slices(
    batch: Batch, lane: Lane, keys: Keys, author: int, reached: Mapping[int, str], size: int
) -> list[Slice]:
    """The batch in slices of at most `size`; a bucket that has `reached` another cursor than the batch's start goes on from there."""
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
    """Slices of which each starts where the one before ends; an empty one, if there are no followers."""
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
