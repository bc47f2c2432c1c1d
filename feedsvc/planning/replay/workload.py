"""Posts and reads to replay, and how they are drawn at random. Pure.

Accounts are drawn as in the Pequod experiments (Kate et al., *Easy Freshness with Pequod Cache
Joins*, NSDI 2014, section 5). There are a hundred reads for each post, by 70 % of the accounts. An
account with fewer than ten followers posts with a weight of 0.1. From ten followers on, its weight
is drawn from 1 … ⌊2 · log10 followers⌋. An account without followers does not post. Posts and reads
arrive as two Poisson processes. The same seed gives the same events.
"""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from itertools import accumulate, islice, repeat
from math import floor, log, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from feedsvc.planning.replay.follow_graph import FollowGraph

READS_PER_POST = 100.0
_ACTIVE_SHARE = 0.7

_FEW_FOLLOWERS = 10
_WEIGHT_OF_FEW = 0.1
_CHUNK = 100_000


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Posts and reads in the order of time. Accounts are numbers of a `FollowGraph`."""

    post_seconds: array[float]
    authors: array[int]
    read_seconds: array[float]
    viewers: array[int]
    # 1 for each account with a materialised home feed; pushes to other accounts are skipped.
    has_feed: bytearray
    # How many posts each account made before the first event.
    posts_before: array[int]

    def __len__(self) -> int:
        return len(self.post_seconds) + len(self.read_seconds)

    @property
    def end_seconds(self) -> float:
        """Return the time of the last event; 0 without events."""
        return max(self.post_seconds[-1:].tolist() + self.read_seconds[-1:].tolist(), default=0.0)

    @property
    def start_seconds(self) -> float:
        """Return the time of the first event; 0 without events."""
        return min(self.post_seconds[:1].tolist() + self.read_seconds[:1].tolist(), default=0.0)


@dataclass(frozen=True)
class Rates:
    """How many posts and reads the whole service takes per second."""

    posts_per_second: float
    reads_per_second: float


@dataclass(frozen=True)
class Viewers:
    """The accounts that read, by number.

    `weights`: how often each viewer reads, accumulated; None if all read alike. `has_feed`: 1 for
    each account of the graph with a materialised home feed.
    """

    accounts: Sequence[int]
    weights: list[float] | None
    has_feed: bytearray


def generate(
    graph: FollowGraph,
    events: int,
    rates: Rates,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Workload:
    """Draw posts and reads in proportion to their rates.

    The workload assumes at least one earlier post of each account that may post. Without any follow
    there are no posts, and all events are reads. `progress` gets the number of events drawn since
    its last call.
    """
    source = random.Random(seed)  # noqa: S311 -- a simulation
    weights = [_weight(source, graph.follower_count(number)) for number in range(len(graph))]
    viewers = active_viewers(len(graph), source)
    share = rates.posts_per_second / (rates.posts_per_second + rates.reads_per_second)
    posts = round(events * share) if any(weights) else 0
    accounts, sums = range(len(graph)), list(accumulate(weights))
    post_seconds, authors = arrivals(
        source, rates.posts_per_second, posts, accounts, sums, progress
    )
    read_seconds, reading = arrivals(
        source, rates.reads_per_second, events - posts, viewers.accounts, None, progress
    )
    return Workload(
        post_seconds=post_seconds,
        authors=authors,
        read_seconds=read_seconds,
        viewers=reading,
        has_feed=viewers.has_feed,
        posts_before=array(
            "I", (max(made, weight > 0) for made, weight in zip(graph.posts, weights, strict=True))
        ),
    )


def active_viewers(accounts: int, source: random.Random) -> Viewers:
    """Draw the viewers of the Pequod mix: 70 % of the accounts, at least one, all alike.

    The home feeds of all other accounts have expired.
    """
    has_feed = bytearray(source.random() < _ACTIVE_SHARE for _ in range(accounts))
    has_feed[source.randrange(accounts)] = True
    return Viewers([number for number, has in enumerate(has_feed) if has], None, has_feed)


def counted_viewers(
    accounts: int, reads: Mapping[int, int], one_in: int, source: random.Random
) -> Viewers:
    """Return viewers that read as often as the counted ones did.

    `reads`: the number of reads by account number, of the counted accounts; not empty. One account
    in `one_in` was counted, so about `len(reads)` · `one_in` accounts read. An account without
    counted reads has a home feed with the probability `len(reads)` · `one_in` / `accounts`.
    """
    share = len(reads) * one_in / accounts
    has_feed = bytearray(number in reads or source.random() < share for number in range(accounts))
    return Viewers(list(reads), list(accumulate(map(float, reads.values()))), has_feed)


def arrivals(
    source: random.Random,
    rate: float,
    count: int,
    accounts: Sequence[int],
    weights: list[float] | None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[array[float], array[int]]:
    """Draw `count` arrivals of a Poisson process, and an account for each of them.

    `rate` is per second. `weights` are accumulated. `progress` gets the number of arrivals drawn
    since its last call.
    """
    seconds, drawn = array("d"), array("I")
    times = accumulate(-log(1 - source.random()) / rate for _ in repeat(None))
    for done in range(0, count, _CHUNK):
        chunk = min(_CHUNK, count - done)
        seconds.extend(islice(times, chunk))
        drawn.extend(source.choices(accounts, cum_weights=weights, k=chunk))
        progress(chunk)
    return seconds, drawn


def _weight(source: random.Random, followers: int) -> float:
    if followers < _FEW_FOLLOWERS:
        return _WEIGHT_OF_FEW if followers else 0.0
    return source.randint(1, floor(2 * log10(followers)))
