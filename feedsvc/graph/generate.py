"""A synthetic follow graph whose follower counts are spread as real ones are.

Calibrated on published counts. Kwak et al., *What is Twitter, a Social Network or a News Media?* (WWW 2010): 16 % of accounts have
more than 20 followers, the largest 7 % of all. Bluesky's early network: median 1 follower, a Pareto tail. So: median 1,
P(> 20) = 0.16, above that a tail with CCDF exponent 1.28, cut at 7 % of the accounts; 22 % of accounts follow more than 20. That is
about 15 follows an account at a million.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from feedsvc.graph.load import Edge, Loaded, load_edges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feedsvc.store import Stores

# The survival function of the follower count at the corners of its log-log plot.
_AT_LEAST_1 = 0.62
_AT_LEAST_2 = 0.48
_ABOVE_20 = 0.16
_BODY_EXPONENT = 0.477
_TAIL_EXPONENT = 1.28
_LARGEST_SHARE = 0.07

# 22 % of accounts make 85 % of the follows, the most active of them most.
_ACTIVE_SHARE = 0.22
_ACTIVE_FOLLOWS = 0.85
_ACTIVE_SKEW = 1.6


def load(
    stores: Stores, accounts: int, seed: int, progress: Callable[[int], None] = lambda _: None
) -> Loaded:
    """Load a generated graph of accounts 1 … `accounts`; `progress` gets the number of accounts done so far."""
    return load_edges(stores, generate_edges(accounts, seed, progress), range(1, accounts + 1))


def generate_edges(
    accounts: int, seed: int, progress: Callable[[int], None] = lambda _: None
) -> Iterator[Edge]:
    """Edges (follower, followee) between accounts 1 … `accounts`, each once, nobody following itself; the same for the same seed."""
    source = random.Random(seed)  # noqa: S311 -- a synthetic graph
    # Being active has nothing to do with being followed: ranks are dealt out to accounts by a fixed shuffle.
    by_activity = list(range(1, accounts + 1))
    source.shuffle(by_activity)
    for followee in range(1, accounts + 1):
        count = min(follower_count(source.random(), accounts), accounts - 1)
        chosen: set[int] = set()
        while len(chosen) < count:
            follower = by_activity[_rank(source, accounts)]
            if follower != followee:
                chosen.add(follower)
        yield from ((follower, followee) for follower in sorted(chosen))
        if followee % 1_000 == 0 or followee == accounts:
            progress(followee)


def follower_count(u: float, accounts: int) -> int:
    """The follower count that a share `u` of all accounts exceeds (the inverse of the survival function), 0 < u ≤ 1."""
    if u > _AT_LEAST_1:
        return 0
    if u > _AT_LEAST_2:
        return 1
    if u > _ABOVE_20:
        return int(2 * (u / _AT_LEAST_2) ** (-1 / _BODY_EXPONENT))
    tail = 20 * (max(u, 1e-12) / _ABOVE_20) ** (-1 / _TAIL_EXPONENT)
    return max(1, min(int(tail) + 1, int(_LARGEST_SHARE * accounts)))


def _rank(source: random.Random, accounts: int) -> int:
    """A rank by activity, 0 the most active, drawn in proportion to how much each follows."""
    active = max(1, int(accounts * _ACTIVE_SHARE))
    if source.random() < _ACTIVE_FOLLOWS:
        return int(active * source.random() ** _ACTIVE_SKEW)
    return source.randrange(accounts)
