"""Push a post into many home feeds, in slices.

A slice is one atomic step that pushes into up to a thousand feeds and moves the cursor of the
fan-out. The cursor shares a node with the feeds, so a slice that runs twice pushes once.
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
    """A part of a fan-out with a chain of its own: the followers above `start`, up to `last`.

    `last` is None if the lane has all followers above its start.
    """

    number: int = 0
    start: str = START
    last: int | None = None


@dataclass(frozen=True)
class Slice:
    """Up to a thousand followers of one bucket between two cursors, as decimal strings.

    `begins`: the slice is the first of a batch in its bucket.
    """

    start: str
    end: str
    followers: Sequence[str]
    bucket: int = 0
    begins: bool = True


class Progress(NamedTuple):
    """How far a lane is: its cursor, and the counts that moved with the cursor."""

    cursor: str
    delivered: int
    skipped: int
    batches: int


WHOLE = Lane()


def deliver(
    stores: Stores, post_id: int, author: int, batch: Sequence[Slice], lane: Lane = WHOLE
) -> dict[int, str]:
    """Push a post into the feeds of slices of a lane, in one round trip.

    Return for each bucket the cursor after this call. It is the end of the bucket's last slice. If
    the lane was elsewhere, it is where the lane really is, and nothing was pushed in this bucket
    from there on. The author's own feed gets the post with the first slice of its bucket.
    """
    answers = stream(
        stores.redis, DELIVER_SLICE, lambda: _calls(stores, post_id, author, batch, lane)
    )
    reached: dict[int, str] = {}
    for part, answer in zip(batch, answers, strict=True):
        if reached.get(part.bucket, part.start) == part.start:
            reached[part.bucket] = answer.decode()
    return reached


def deliver_whole(
    stores: Stores, fanouts: Sequence[tuple[int, int, Sequence[str]]]
) -> dict[int, list[int]]:
    """Push several posts, each into the feeds of all followers of its author, in one round trip.

    Each post is pushed in one atomic step for each bucket. A fan-out that has begun before stays as
    it is. `fanouts`: post, author, followers in ascending order of length. Return the buckets that
    each post touches.
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
    """Return the progress of lanes, given as post, lane and buckets, in one round trip.

    A lane that has no progress stands at its start.
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
    """Return a number by which cursors compare."""
    return math.inf if cursor == END else int(cursor)


def earliest(cursors: Iterable[str]) -> str:
    """Return the cursor that is furthest behind."""
    return min(cursors, key=position)


def trim_lengths(limits: Settings) -> tuple[int, int]:
    """Return the fewest ids at which a feed is trimmed, and how many lengths there are from there.

    Each feed has a length of its own among them, so that feeds that were filled together are not
    trimmed together.
    """
    shortest = limits.feed_cap + (limits.feed_slack + 1) // 2
    return shortest, limits.feed_cap + limits.feed_slack - shortest + 1


def _sum_of_buckets(buckets: Sequence[Progress]) -> Progress:
    """Return the progress of a lane over all buckets.

    A bucket counts its own batches. A fan-out of several batches has each of them in every bucket.
    """
    cursors, delivered, skipped, batches = zip(*buckets, strict=True)
    return Progress(earliest(cursors), sum(delivered), sum(skipped), max(batches))


def _progress(lane: Lane, fields: dict[bytes, bytes]) -> Progress:
    counts = (int(fields.get(name, 0)) for name in (b"delivered", b"skipped", b"batches"))
    return Progress(fields.get(b"cursor", lane.start.encode()).decode(), *counts)


def _calls(
    stores: Stores, post_id: int, author: int, batch: Sequence[Slice], lane: Lane
) -> Iterator[Call]:
    """Yield the packed call of the script for each slice."""
    keys, limits = stores.keys, stores.limits
    shortest, lengths = trim_lengths(limits)
    fixed = (post_id, limits.feed_cap, shortest, lengths, fresh_token())
    for part in batch:
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


# The client library packs each argument by itself, 0.18 µs for each. A slice has hundreds of keys
# that differ only in an id. All ids of one length are packed in one join here, 0.012 µs for each
# (docs/performance.md).


def pack(count: int, *parts: str) -> bytes:
    """Pack a command of `count` arguments (RESP: an array of bulk strings); `parts` are packed."""
    return "".join((f"*{count}\r\n", *parts)).encode()


def pack_arguments(*values: Any) -> str:
    """Pack ASCII arguments one by one."""
    return "".join(f"${len(text)}\r\n{text}\r\n" for text in map(str, values))


def pack_prefixed(prefix: str, suffixes: Sequence[str]) -> str:
    """Pack the ASCII arguments `prefix` + suffix; the suffixes are in ascending order of length."""
    runs = []
    first = 0
    while first < len(suffixes):
        length = len(suffixes[first])
        after = bisect_right(suffixes, length, lo=first, key=len)
        header = f"${len(prefix) + length}\r\n{prefix}"
        runs.append(header + f"\r\n{header}".join(suffixes[first:after]) + "\r\n")
        first = after
    return "".join(runs)
