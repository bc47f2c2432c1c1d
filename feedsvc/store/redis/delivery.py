"""Pushing a post into many home feeds: slices, each one atomic step that pushes and moves the cursor beside the pushes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from feedsvc.store.redis import packing
from feedsvc.store.redis.round_trip import RoundTrip, stream
from feedsvc.store.redis.scripts import DELIVER_SLICE, fresh_token

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
    """A part of a fan-out with a chain of its own: the followers above `start`, up to and with `last` (None: all)."""

    number: int = 0
    start: str = START
    last: int | None = None


@dataclass(frozen=True)
class Slice:
    """Followers of one bucket between two cursors, up to a thousand, as decimal strings: what one atomic step pushes to.

    `begins`: it is the first of a batch in its bucket.
    """

    start: str
    end: str
    followers: Sequence[str]
    bucket: int = 0
    begins: bool = True


class Progress(NamedTuple):
    """How far a lane is: the cursor, and the counts that moved with it."""

    cursor: str
    delivered: int
    skipped: int
    batches: int


WHOLE = Lane()


def deliver(
    stores: Stores, post_id: int, author: int, batch: Sequence[Slice], lane: Lane = WHOLE
) -> dict[int, str]:
    """Push a post into the feeds of these slices of a lane, in one round trip, each slice in one atomic step.

    Returns the cursor that stands afterwards in each of their buckets: the end of its last slice, or, if the lane was elsewhere,
    where it really is; then nothing was pushed in this bucket from there on. The author's own feed goes with the very first slice
    of its bucket.
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
    """Push several posts, each into all feeds of its author's followers, in one round trip, each post's in a bucket in one atomic step.

    `fanouts`: post, author, followers in ascending order of length. One that was begun elsewhere is left as it is. Returns the
    buckets that each post touches.
    """
    parts: dict[int, list[Slice]] = {}
    for post_id, author, followers in fanouts:
        by_bucket = {stores.keys.bucket(author): (), **stores.keys.by_bucket(followers)}
        parts[post_id] = [Slice(START, END, some, bucket) for bucket, some in by_bucket.items()]

    def calls() -> Iterator[Call]:
        for post_id, author, _ in fanouts:
            yield from _calls(stores, post_id, author, parts[post_id], WHOLE)

    stream(stores.redis, DELIVER_SLICE, calls)
    return {post_id: [part.bucket for part in slices] for post_id, slices in parts.items()}


def progress(stores: Stores, lanes: Sequence[tuple[int, Lane, Collection[int]]]) -> list[Progress]:
    """The progress of these lanes of these posts, each in these buckets, in one round trip; where there is none, the lane's start."""
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
    return [_together([answer.value for answer in buckets]) for buckets in found]


def position(cursor: str) -> float:
    """What tells which of two cursors is behind."""
    return math.inf if cursor == END else int(cursor)


def earliest(cursors: Iterable[str]) -> str:
    """The cursor that is furthest behind."""
    return min(cursors, key=position)


def _together(buckets: Sequence[Progress]) -> Progress:
    """The buckets of one lane together. Each batch that is not the only one is one of every bucket's batches."""
    cursors, delivered, skipped, batches = zip(*buckets, strict=True)
    return Progress(earliest(cursors), sum(delivered), sum(skipped), max(batches))


def _progress(lane: Lane, fields: dict[bytes, bytes]) -> Progress:
    counts = (int(fields.get(name, 0)) for name in (b"delivered", b"skipped", b"batches"))
    return Progress(fields.get(b"cursor", lane.start.encode()).decode(), *counts)


def trim_lengths(limits: Settings) -> tuple[int, int]:
    """The fewest ids at which a feed is trimmed, and how many lengths from there on are used, each feed having one of its own."""
    shortest = limits.feed_cap + (limits.feed_slack + 1) // 2
    return shortest, limits.feed_cap + limits.feed_slack - shortest + 1


def _calls(
    stores: Stores, post_id: int, author: int, batch: Sequence[Slice], lane: Lane
) -> Iterator[Call]:
    """The slices, packed."""
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
        touched = packing.arguments(*first) + packing.prefixed(
            keys.homefeed_prefix(part.bucket), part.followers
        )
        yield (
            first[0],
            DELIVER_SLICE.packed(
                len(first) + len(part.followers), touched, packing.arguments(*args), len(args)
            ),
        )
