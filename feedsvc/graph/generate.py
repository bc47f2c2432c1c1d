"""Generating a synthetic follow graph with realistic follower counts.

The distribution follows published counts. Kwak et al., *What is Twitter, a Social Network or a News
Media?* (WWW 2010): 16 % of accounts have more than 20 followers, and the largest account has 7 % of
all accounts as followers. Bluesky's early network: a median of 1 follower and a Pareto tail.

So the generated graph has a median of 1 and P(> 20) = 0.16. Above 20 followers it has a tail with
CCDF exponent 1.28, cut at 7 % of the accounts. 22 % of the accounts follow more than 20. A million
accounts have about 15 follows each.
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

# 22 % of the accounts make 85 % of the follows. The most active of them make the most.
_ACTIVE_SHARE = 0.22
_ACTIVE_FOLLOWS = 0.85
_ACTIVE_SKEW = 1.6


def load(
    stores: Stores, accounts: int, seed: int, progress: Callable[[int], None] = lambda _: None
) -> Loaded:
    """Load a generated graph of the accounts 1 … `accounts`.

    `progress` gets the number of finished accounts.
    """
    return load_edges(stores, generate_edges(accounts, seed, progress), range(1, accounts + 1))


def generate_edges(
    accounts: int, seed: int, progress: Callable[[int], None] = lambda _: None
) -> Iterator[Edge]:
    """Yield edges (follower, followee) between the accounts 1 … `accounts`.

    Each edge comes once, no account follows itself, and a seed always gives equal edges.
    """
    source = random.Random(seed)  # noqa: S311 -- a synthetic graph
    # Activity does not depend on the number of followers: a shuffle gives each account its rank.
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
    """Return the follower count that a share `u` of all accounts exceeds, 0 < u ≤ 1.

    This is the inverse of the survival function.
    """
    if u > _AT_LEAST_1:
        return 0
    if u > _AT_LEAST_2:
        return 1
    if u > _ABOVE_20:
        return int(2 * (u / _AT_LEAST_2) ** (-1 / _BODY_EXPONENT))
    tail = 20 * (max(u, 1e-12) / _ABOVE_20) ** (-1 / _TAIL_EXPONENT)
    return max(1, min(int(tail) + 1, int(_LARGEST_SHARE * accounts)))


def _rank(source: random.Random, accounts: int) -> int:
    """Draw a rank by activity, in proportion to the follows of each rank. Rank 0 is most active."""
    active = max(1, int(accounts * _ACTIVE_SHARE))
    if source.random() < _ACTIVE_FOLLOWS:
        return int(active * source.random() ** _ACTIVE_SKEW)
    return source.randrange(accounts)
