"""Posts and reads drawn at random: who posts and who reads as in the Pequod experiments, when as two Poisson processes. Pure.

Kate et al., *Easy Freshness with Pequod Cache Joins* (NSDI 2014), section 5: a hundred reads for each post, by 70 % of the accounts; an
account posts with a weight of 0.1 below ten followers, from there on with a number drawn from 1 … ⌊2 · log10 followers⌋, and without
followers not at all. The same seed gives the same events.
"""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from itertools import accumulate, islice, repeat
from math import floor, log, log10
from typing import TYPE_CHECKING

from feedsvc.planning.replay.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from feedsvc.planning.replay.follow_graph import FollowGraph

# The mix: reads for each post, and who reads.
READS_A_POST = 100.0
_ACTIVE_SHARE = 0.7

_FEW_FOLLOWERS = 10
_WEIGHT_OF_FEW = 0.1
_CHUNK = 100_000


@dataclass(frozen=True)
class Rates:
    """How many posts and reads the whole service takes a second."""

    posts_per_second: float
    reads_per_second: float


@dataclass(frozen=True)
class Readers:
    """Who reads: accounts by number, how often each (as accumulated weights; None: all alike), and whose feed exists."""

    accounts: Sequence[int]
    weights: list[float] | None
    has_feed: bytearray


def generate(
    crowd: FollowGraph,
    events: int,
    rates: Rates,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Workload:
    """So many events, posts and reads in proportion to their rates; `progress` gets how many more have been drawn.

    Every account that may post has done so before. Where nobody has a follower nobody posts: all events are reads.
    """
    source = random.Random(seed)  # noqa: S311 -- a simulation
    weights = [_weight(source, crowd.follower_count(number)) for number in range(len(crowd))]
    readers = active(len(crowd), source)
    share = rates.posts_per_second / (rates.posts_per_second + rates.reads_per_second)
    posts = round(events * share) if any(weights) else 0
    posting = Readers(range(len(crowd)), list(accumulate(weights)), readers.has_feed)
    post_seconds, authors = _drawn(source, rates.posts_per_second, posting, posts, progress)
    read_seconds, by_whom = _drawn(
        source, rates.reads_per_second, readers, events - posts, progress
    )
    return Workload(
        post_seconds=post_seconds,
        authors=authors,
        read_seconds=read_seconds,
        readers=by_whom,
        has_feed=readers.has_feed,
        posts_before=array(
            "I", (max(made, weight > 0) for made, weight in zip(crowd.posts, weights, strict=True))
        ),
    )


def beside_posts(
    crowd: FollowGraph,
    post_seconds: array[float],
    authors: array[int],
    readers: Readers,
    reads: int,
    seconds: float,
    source: random.Random,
    progress: Callable[[int], None] = lambda _: None,
) -> Workload:
    """These posts, and so many reads by these readers, drawn at random over so many seconds from 0 on."""
    read_seconds, by_whom = _drawn(source, reads / seconds, readers, reads, progress)
    return Workload(
        post_seconds=post_seconds,
        authors=authors,
        read_seconds=read_seconds,
        readers=by_whom,
        has_feed=readers.has_feed,
        posts_before=crowd.posts,
    )


def active(accounts: int, source: random.Random) -> Readers:
    """The readers of the mix: most accounts, one at least, all alike; the feeds of the others have expired."""
    has_feed = bytearray(source.random() < _ACTIVE_SHARE for _ in range(accounts))
    has_feed[source.randrange(accounts)] = True
    return Readers([number for number, has in enumerate(has_feed) if has], None, has_feed)


def as_counted(
    accounts: int, reads: Mapping[int, int], one_in: int, source: random.Random
) -> Readers:
    """Readers that read as those did whose reads were counted, one in so many; `reads`: account number -> reads, one at least.

    Of the accounts that were not counted as many have a feed as of those that were.
    """
    share = len(reads) * one_in / accounts
    has_feed = bytearray(number in reads or source.random() < share for number in range(accounts))
    return Readers(list(reads), list(accumulate(map(float, reads.values()))), has_feed)


def _weight(source: random.Random, followers: int) -> float:
    """How much more often than others an account posts."""
    if followers < _FEW_FOLLOWERS:
        return _WEIGHT_OF_FEW if followers else 0.0
    return source.randint(1, floor(2 * log10(followers)))


def _drawn(
    source: random.Random, rate: float, who: Readers, count: int, progress: Callable[[int], None]
) -> tuple[array[float], array[int]]:
    """So many arrivals at a rate, and the accounts they are of."""
    seconds, accounts = array("d"), array("I")
    arrivals = accumulate(-log(1 - source.random()) / rate for _ in repeat(None))
    for done in range(0, count, _CHUNK):
        chunk = min(_CHUNK, count - done)
        seconds.extend(islice(arrivals, chunk))
        accounts.extend(source.choices(who.accounts, cum_weights=who.weights, k=chunk))
        progress(chunk)
    return seconds, accounts
