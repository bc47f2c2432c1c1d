"""The last days as a workload: the database's own posts, and reads at the counted rate."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import post_ids
from feedsvc.planning.replay import workload
from feedsvc.planning.replay.workload import Workload
from feedsvc.store.redis import usage
from feedsvc.store.sql.database import clock_ms
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.store import Stores

# Fewer counted viewers, or a shorter time, do not represent the rest. Then reads are assumed.
_FEW_VIEWERS = 20
_LEAST_SECONDS = 3_600.0
_STREAMED_ROWS = 10_000


@dataclass(frozen=True)
class RecentDays:
    """Recent posts and reads.

    `reads_are_assumed`: the reads are a hundred for each post, by 70 % of the accounts.
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
    post_seconds, authors = _posts(stores, number_of, seconds)
    counted = usage.sampled_reads(stores)
    reads = {
        number_of[viewer]: count
        for viewer, count in counted.by_viewer.items()
        if viewer in number_of
    }
    is_assumed = len(reads) < _FEW_VIEWERS or counted.seconds < _LEAST_SECONDS
    if is_assumed:
        viewers = workload.active_viewers(len(graph), source)
        count = round(len(authors) * workload.READS_PER_POST)
    else:
        viewers = workload.counted_viewers(len(graph), reads, usage.SAMPLE_ONE_IN, source)
        per_second = usage.SAMPLE_ONE_IN * counted.by_viewer.total() / counted.seconds
        count = round(per_second * seconds)
    read_seconds, reading = workload.arrivals(
        source,
        count / seconds,
        count,
        viewers.accounts,
        viewers.weights,
        lambda drawn: progress(drawn, count),
    )
    return RecentDays(
        Workload(
            post_seconds=post_seconds,
            authors=authors,
            read_seconds=read_seconds,
            viewers=reading,
            has_feed=viewers.has_feed,
            posts_before=graph.posts,
        ),
        is_assumed,
    )


def _posts(
    stores: Stores, number_of: Mapping[int, int], seconds: float
) -> tuple[array[float], array[int]]:
    """Read when which account posted, in seconds since the beginning of the time span.

    Deleted posts count, because they were pushed like any other. Posts of accounts outside the
    graph do not.
    """
    times, authors = array("d"), array("I")
    with stores.sql.reading() as connection:
        since_ms = clock_ms(stores.sql, connection) - int(seconds * 1000)
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
