"""Workloads from real events: the last days of this database, and recordings.

The last days have the database's own posts, and reads at the counted rate. A recording is a file of
lines `seconds post|read account` in the order of time (`docs/threshold.md` describes the format).
"""

from __future__ import annotations

import random
import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import post_ids
from feedsvc.errors import FeedsvcError
from feedsvc.graph.column_file import UNREADABLE, ColumnFile, reason, wrong_id
from feedsvc.planning.replay.workload import (
    READS_PER_POST,
    Workload,
    active_viewers,
    arrivals,
    counted_viewers,
)
from feedsvc.store.redis import usage
from feedsvc.store.sql import clock
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.store import Stores

# Fewer counted viewers, or a shorter time, do not represent the rest. Then reads are assumed.
_FEW_VIEWERS = 20
_LEAST_SECONDS = 3_600.0
_STREAMED_ROWS = 10_000

_SECONDS = re.compile(rb"[0-9]{1,12}(\.[0-9]{1,9})?")
_COLUMNS = 3


@dataclass(frozen=True)
class RecentDays:
    """Recent posts and reads.

    `reads_are_assumed` is True if too little was counted. Then 70 % of the accounts read, and there
    are 100 reads for each post.
    """

    workload: Workload
    reads_are_assumed: bool


def recent_days(
    stores: Stores,
    graph: FollowGraph,
    seconds: float,
    seed: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> RecentDays:
    """Return the posts of the last `seconds`, and reads drawn at random over that time.

    `progress` gets the number of reads drawn since its last call, and the number of all reads.
    """
    source = random.Random(seed)  # noqa: S311 -- a simulation
    number_of = {ident: number for number, ident in enumerate(graph.ids)}
    post_seconds, authors = recent_posts(stores, number_of, seconds)
    counted = usage.sampled_reads(stores)
    reads = {
        number_of[viewer]: count
        for viewer, count in counted.by_viewer.items()
        if viewer in number_of
    }
    is_assumed = len(reads) < _FEW_VIEWERS or counted.seconds < _LEAST_SECONDS
    if is_assumed:
        viewers = active_viewers(len(graph), source)
        count = round(len(authors) * READS_PER_POST)
    else:
        viewers = counted_viewers(len(graph), reads, usage.SAMPLE_ONE_IN, source)
        per_second = usage.SAMPLE_ONE_IN * counted.by_viewer.total() / counted.seconds
        count = round(per_second * seconds)
    read_seconds, reading = arrivals(
        source,
        count / seconds,
        count,
        viewers.accounts,
        viewers.weights,
        lambda drawn: progress(drawn, count),
    )
    workload = Workload(
        post_seconds=post_seconds,
        authors=authors,
        read_seconds=read_seconds,
        viewers=reading,
        has_feed=viewers.has_feed,
        posts_before=graph.posts,
    )
    return RecentDays(workload, is_assumed)


def recent_posts(
    stores: Stores, number_of: Mapping[int, int], seconds: float
) -> tuple[array[float], array[int]]:
    """Read when which account posted, in seconds since the beginning of the time span.

    Deleted posts count, because they were pushed like any other. Posts of accounts outside the
    graph do not.
    """
    times, authors = array("d"), array("I")
    with stores.sql.reading() as connection:
        since_ms = clock.ms(connection) - int(seconds * 1000)
        recent = (
            sa.select(Post.id, Post.author_id)
            .where(Post.id >= post_ids.lowest_of(since_ms))
            .order_by(Post.id)
        )
        streamed = connection.execution_options(yield_per=_STREAMED_ROWS)
        for post_id, author in streamed.execute(recent):
            if author in number_of:
                times.append((post_ids.ms_of(post_id) - since_ms) / 1000)
                authors.append(number_of[author])
    return times, authors


class BadRecording(FeedsvcError):
    """The file cannot be read to its end, or has lines that are no events."""

    def __init__(self, path: Path, problem: object) -> None:
        super().__init__(f"{path}: {problem}; nothing was simulated")


@dataclass(frozen=True)
class Recording:
    """The events of a file. `unknown`: events left out, because the graph lacks their account."""

    workload: Workload
    unknown: int


def read_recording(
    path: Path, graph: FollowGraph, progress: Callable[[int], None] = lambda _: None
) -> Recording:
    """Read a recording. Raises `BadRecording`.

    An account has a home feed if it reads in the recording. `progress` gets the number of bytes
    read so far.
    """
    lines = ColumnFile(path, progress)
    number_of = {b"%d" % ident: number for number, ident in enumerate(graph.ids)}
    events = {kind: (array("d"), array("I")) for kind in (b"post", b"read")}
    unknown, last = 0, 0.0
    try:
        for columns in lines.columns():
            problem = _problem(columns, last)
            if problem is not None:
                lines.is_wrong(problem)
                continue
            last = float(columns[0])
            number = number_of.get(columns[2])
            if number is None:
                unknown += 1
                continue
            seconds, accounts = events[columns[1]]
            seconds.append(last)
            accounts.append(number)
    except UNREADABLE as error:
        raise BadRecording(path, f"cannot be read ({reason(error)})") from None
    if lines.malformed.count:
        raise BadRecording(path, lines.malformed)
    (post_seconds, authors), (read_seconds, viewers) = events.values()
    has_feed = bytearray(len(graph))
    for viewer in viewers:
        has_feed[viewer] = True
    return Recording(
        Workload(
            post_seconds=post_seconds,
            authors=authors,
            read_seconds=read_seconds,
            viewers=viewers,
            has_feed=has_feed,
            posts_before=graph.posts,
        ),
        unknown,
    )


def _problem(columns: list[bytes], last_seconds: float) -> str | None:
    """Return the error of a line; None if the line is an event at or after `last_seconds`."""
    if len(columns) != _COLUMNS:
        return f"{len(columns)} columns instead of {_COLUMNS}"
    seconds, kind, account = columns
    if not _SECONDS.fullmatch(seconds):
        text = seconds[:30].decode(errors="replace")
        return f"{text!r} is not a time (seconds, with up to nine decimals)"
    if kind not in (b"post", b"read"):
        return f"{kind[:30].decode(errors='replace')!r} is neither post nor read"
    problem = wrong_id(account)
    if problem is None and float(seconds) < last_seconds:
        return f"{seconds.decode()} is before the line above; sort the file by its first column"
    return problem
