"""Push a post into many home feeds, in slices.

A slice is one atomic step that pushes into up to `fanout_slice` home lists (250 by default) and
moves the cursor of the fan-out. The cursor shares a node with the lists, so a slice that runs twice
pushes once.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from feedsvc.store.redis.round_trip import RoundTrip, fresh_token, stream
from feedsvc.store.redis.scripts import DELIVER_SLICE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from feedsvc.settings import Settings
    from feedsvc.store import Stores
    from feedsvc.store.redis.round_trip import Call

START = "0"
END = "end"

_PROGRESS_TTL_SECONDS = 86_400


@dataclass(frozen=True)
class Lane:
    """A range of follower ids, `start` < id ≤ `last`, that one chain delivers.

    `last` is None if the lane has all followers above its start.
    """

    number: int = 0
    start: str = START
    last: int | None = None


@dataclass(frozen=True)
class Slice:
    """The followers of one bucket with `start` < id ≤ `end`, as decimal strings.

    `begins` is True for the first slice of a batch in the bucket. This slice counts the batch.
    """

    start: str
    end: str
    followers: Sequence[str]
    bucket: int = 0
    begins: bool = True


class Progress(NamedTuple):
    """The progress of a lane: its cursor, and the counts that the same script updates."""

    cursor: str
    delivered: int
    skipped: int
    batches: int


WHOLE = Lane()


def deliver(
    stores: Stores, post_id: int, author: int, slices: Sequence[Slice], lane: Lane = WHOLE
) -> dict[int, str]:
    """Push a post into the home lists of the given slices, in one round trip.

    Returns the cursor of each bucket after the call. Normally this is the end of the bucket's last
    slice. If Redis has another cursor than a slice starts at, the slice is not pushed, and the
    answer is the cursor in Redis. The caller goes on from there. The slice that starts at START in
    the author's bucket also pushes into the author's own home list.
    """
    answers = stream(
        stores.redis, DELIVER_SLICE, lambda: _calls(stores, post_id, author, slices, lane)
    )
    reached: dict[int, str] = {}
    for part, answer in zip(slices, answers, strict=True):
        if reached.get(part.bucket, part.start) == part.start:
            reached[part.bucket] = answer.decode()
    return reached


def deliver_whole(
    stores: Stores, fanouts: Sequence[tuple[int, int, Sequence[str]]]
) -> dict[int, list[int]]:
    """Push several posts in one round trip, each into the home lists of all its author's followers.

    Each post is pushed in one atomic step for each bucket. Skips a bucket whose cursor has already
    left START. `fanouts` has (post, author, followers). Follower ids with fewer digits come first,
    as `pack_prefixed` needs. Returns the buckets that each post touches.
    """
    slices: dict[int, list[Slice]] = {}
    for post_id, author, followers in fanouts:
        by_bucket = {stores.keys.bucket(author): (), **stores.keys.by_bucket(followers)}
        slices[post_id] = [Slice(START, END, some, bucket) for bucket, some in by_bucket.items()]

    def calls() -> Iterator[Call]:
        for post_id, author, _ in fanouts:
            yield from _calls(stores, post_id, author, slices[post_id], WHOLE)

    stream(stores.redis, DELIVER_SLICE, calls)
    return {post_id: [part.bucket for part in parts] for post_id, parts in slices.items()}


def progress(stores: Stores, lanes: Sequence[tuple[int, Lane, Collection[int]]]) -> list[Progress]:
    """Return the progress of each (post, lane, buckets), in one round trip.

    If the hash of a bucket is absent, its cursor is the lane's start and its counts are 0.
    """
    trip = RoundTrip(stores.redis)
    found = [
        [
            trip.ask(
                "HGETALL",
                stores.keys.fanout(post_id, bucket, lane.number),
                parse=partial(_progress, lane),
            )
            for bucket in buckets
        ]
        for post_id, lane, buckets in lanes
    ]
    trip.run()
    return [_sum_of_buckets([answer.value for answer in buckets]) for buckets in found]


def position(cursor: str) -> float:
    """Return the cursor as a number. END is infinite."""
    return math.inf if cursor == END else int(cursor)


def earliest(cursors: Iterable[str]) -> str:
    """Return the cursor that is furthest behind."""
    return min(cursors, key=position)


def trim_lengths(limits: Settings) -> tuple[int, int]:
    """Return the range of trim lengths: the shortest, and how many lengths there are.

    A home list is trimmed at one length in this range. Its account id chooses the length, so that
    lists that filled together are not trimmed together.
    """
    shortest = limits.feed_cap + (limits.feed_slack + 1) // 2
    return shortest, limits.feed_cap + limits.feed_slack - shortest + 1


def _sum_of_buckets(buckets: Sequence[Progress]) -> Progress:
    """Return the progress of a lane over all buckets.

    Each bucket counts every batch, so the number of batches is the maximum and not the sum. A
    fan-out of a single batch counts 1 in each bucket that it touches.
    """
    cursors, delivered, skipped, batches = zip(*buckets, strict=True)
    return Progress(earliest(cursors), sum(delivered), sum(skipped), max(batches))


def _progress(lane: Lane, fields: dict[bytes, bytes]) -> Progress:
    counts = (int(fields.get(name, 0)) for name in (b"delivered", b"skipped", b"batches"))
    return Progress(fields.get(b"cursor", lane.start.encode()).decode(), *counts)


def _calls(
    stores: Stores, post_id: int, author: int, slices: Sequence[Slice], lane: Lane
) -> Iterator[Call]:
    """Yield, for each slice, its progress key and the packed EVALSHA command."""
    keys, limits = stores.keys, stores.limits
    shortest, lengths = trim_lengths(limits)
    fixed = (post_id, limits.feed_cap, shortest, lengths, fresh_token())
    for part in slices:
        own = part.start == START and part.bucket == keys.bucket(author)
        first = [
            keys.fanout(post_id, part.bucket, lane.number),
            *([keys.homefeed(author)] if own else []),
        ]
        args = (
            part.start,
            part.end,
            *fixed,
            int(own),
            int(part.begins),
            _PROGRESS_TTL_SECONDS,
            lane.start,
        )
        key_count = len(first) + len(part.followers)
        yield (
            first[0],
            pack(
                3 + key_count + len(args),
                pack_arguments("EVALSHA", DELIVER_SLICE.sha, key_count, *first),
                pack_prefixed(keys.homefeed_prefix(part.bucket), part.followers),
                pack_arguments(*args),
            ),
        )


def pack(count: int, *parts: str) -> bytes:
    """Return one RESP command of `count` arguments. `parts` are packed already."""
    return "".join((f"*{count}\r\n", *parts)).encode()


def pack_arguments(*values: Any) -> str:
    """Pack ASCII arguments one by one."""
    return "".join(f"${len(text)}\r\n{text}\r\n" for text in map(str, values))


def pack_prefixed(prefix: str, suffixes: Sequence[str]) -> str:
    """Pack the ASCII arguments `prefix` + suffix. Shorter suffixes have to come first.

    Packs all suffixes of one length in one join, at 0.012 µs an argument. The client library packs
    each argument alone, at 0.18 µs (docs/performance.md). A slice has hundreds of keys that differ
    only in an id.
    """
    runs = []
    first = 0
    while first < len(suffixes):
        length = len(suffixes[first])
        after = bisect_right(suffixes, length, lo=first, key=len)
        header = f"${len(prefix) + length}\r\n{prefix}"
        runs.append(header + f"\r\n{header}".join(suffixes[first:after]) + "\r\n")
        first = after
    return "".join(runs)
