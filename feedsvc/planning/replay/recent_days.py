"""The last days, to be replayed: posts as the database has them, reads as often as they were counted, by viewers like those counted."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import post_ids
from feedsvc.planning.replay import generated
from feedsvc.store.redis import read_counts
from feedsvc.store.sql.database import clock_ms
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.planning.replay.generated import Readers
    from feedsvc.planning.replay.workload import Workload
    from feedsvc.store import Stores
    from feedsvc.store.redis.read_counts import Reads

# Fewer counted viewers, or a shorter time, say nothing about the rest: then reads are those of the mix.
_FEW_VIEWERS = 20
_LEAST_SECONDS = 3_600.0
_STREAMED_ROWS = 10_000


@dataclass(frozen=True)
class Lately:
    """The workload, and whether its reads are assumed: a hundred for each post, by 70 % of the accounts."""

    workload: Workload
    reads_are_assumed: bool


def lately(
    stores: Stores,
    crowd: FollowGraph,
    seconds: float,
    seed: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Lately:
    """The last so many seconds; `progress` gets how many reads are drawn, and of how many."""
    source = random.Random(seed)  # noqa: S311 -- a synthetic graph
    numbers = {ident: number for number, ident in enumerate(crowd.ids)}
    times, authors = _posts(stores, numbers, seconds)
    counted = read_counts.counted(stores)
    by_number = {
        numbers[viewer]: count for viewer, count in counted.by_viewer.items() if viewer in numbers
    }
    is_assumed = len(by_number) < _FEW_VIEWERS or counted.seconds < _LEAST_SECONDS
    readers = _readers(crowd, {} if is_assumed else by_number, source)
    count = (
        round(len(times) * generated.READS_A_POST)
        if is_assumed
        else round(_per_second(counted) * seconds)
    )
    drawn = 0

    def more(number: int) -> None:
        nonlocal drawn
        drawn += number
        progress(drawn, count)

    return Lately(
        generated.beside_posts(crowd, times, authors, readers, count, seconds, source, more),
        is_assumed,
    )


def _posts(
    stores: Stores, numbers: dict[int, int], seconds: float
) -> tuple[array[float], array[int]]:
    """The posts of the accounts that still exist."""
    times, authors = array("d"), array("I")
    for at, author in zip(*_posted(stores, seconds), strict=True):
        if author in numbers:
            times.append(at)
            authors.append(numbers[author])
    return times, authors


def _readers(crowd: FollowGraph, by_number: dict[int, int], source: random.Random) -> Readers:
    if by_number:
        return generated.as_counted(len(crowd), by_number, read_counts.ONE_IN, source)
    return generated.active(len(crowd), source)


def _per_second(counted: Reads) -> float:
    return read_counts.ONE_IN * sum(counted.by_viewer.values()) / counted.seconds


def _posted(stores: Stores, seconds: float) -> tuple[array[float], array[int]]:
    """When (seconds since so long ago, ascending) which account has posted; deleted posts too, which were pushed like any other."""
    times, authors = array("d"), array("q")
    with stores.sql.reading() as connection:
        since_ms = clock_ms(stores.sql, connection) - int(seconds * 1000)
        recent = (
            sa.select(Post.id, Post.author_id)
            .where(Post.id >= post_ids.lowest_of(since_ms))
            .order_by(Post.id)
        )
        for post_id, author in connection.execution_options(yield_per=_STREAMED_ROWS).execute(
            recent
        ):
            times.append((post_ids.ms_of(post_id) - since_ms) / 1000)
            authors.append(author)
    return times, authors
