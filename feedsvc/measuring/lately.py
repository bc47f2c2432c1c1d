"""The last days, to be replayed: posts as the database has them, reads as often as they were counted, by viewers like those counted."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.posts import recent
from feedsvc.store.redis import reads
from feedsvc.threshold.replay import generated

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.store import Stores
    from feedsvc.store.redis.reads import Reads
    from feedsvc.threshold.replay.crowd import Crowd
    from feedsvc.threshold.replay.generated import Readers
    from feedsvc.threshold.replay.workload import Workload

# Fewer counted viewers, or a shorter time, say nothing about the rest: then reads are those of the mix.
_FEW_VIEWERS = 20
_LEAST_SECONDS = 3_600.0


@dataclass(frozen=True)
class Lately:
    """The workload, and whether its reads are assumed: a hundred for each post, by 70 % of the accounts."""

    workload: Workload
    reads_are_assumed: bool


def lately(stores: Stores, crowd: Crowd, seconds: float, seed: int, progress: Callable[[int, int], None] = lambda *_: None) -> Lately:
    """The last so many seconds; `progress` gets how many reads are drawn, and of how many."""
    source = random.Random(seed)  # noqa: S311 -- a simulation
    numbers = {ident: number for number, ident in enumerate(crowd.ids)}
    times, authors = _posts(stores, numbers, seconds)
    counted = reads.counted(stores)
    by_number = {numbers[viewer]: count for viewer, count in counted.by_viewer.items() if viewer in numbers}
    is_assumed = len(by_number) < _FEW_VIEWERS or counted.seconds < _LEAST_SECONDS
    readers = _readers(crowd, {} if is_assumed else by_number, source)
    count = round(len(times) * generated.READS_A_POST) if is_assumed else round(_per_second(counted) * seconds)
    drawn = 0

    def more(number: int) -> None:
        nonlocal drawn
        drawn += number
        progress(drawn, count)

    return Lately(generated.beside_posts(crowd, times, authors, readers, count, seconds, source, more), is_assumed)


def _posts(stores: Stores, numbers: dict[int, int], seconds: float) -> tuple[array[float], array[int]]:
    """The posts of the accounts that still exist."""
    times, authors = array("d"), array("I")
    for at, author in zip(*recent.posted(stores, seconds), strict=True):
        if author in numbers:
            times.append(at)
            authors.append(numbers[author])
    return times, authors


def _readers(crowd: Crowd, by_number: dict[int, int], source: random.Random) -> Readers:
    if by_number:
        return generated.as_counted(len(crowd), by_number, reads.ONE_IN, source)
    return generated.active(len(crowd), source)


def _per_second(counted: Reads) -> float:
    return reads.ONE_IN * sum(counted.by_viewer.values()) / counted.seconds
