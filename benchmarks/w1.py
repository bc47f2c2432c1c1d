"""The mix W1: one post to a hundred home feeds, ten follows and five log-outs (Pequod's Twip).

Readers are drawn evenly among the active accounts, posters by weight among all, followees by size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from benchmarks import feeds, history
from feedsvc.feed import reader
from feedsvc.graph import follows

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from benchmarks.service import Bench

What = Literal["post", "read", "follow", "log out"]

MIX: dict[What, int] = {"post": 1, "read": 100, "follow": 10, "log out": 5}
_PAGE = 20


class Operation(NamedTuple):
    """What one account does. `followee` is whom it follows, if it does."""

    what: What
    account: int
    followee: int


def draw(
    sizes: Mapping[int, int], active: Sequence[int], count: int, source: random.Random
) -> list[Operation]:
    """So many operations of the mix, on a network whose accounts have these sizes."""
    posters = history.draw_posters(sizes, count, source)
    popular = source.choices(list(sizes), [1 + followers for followers in sizes.values()], k=count)
    kinds = source.choices(list(MIX), list(MIX.values()), k=count)
    return [
        Operation(what, poster if what == "post" else source.choice(active), followee)
        for what, poster, followee in zip(kinds, posters, popular, strict=True)
    ]


def perform(bench: Bench, operation: Operation) -> int | None:
    """Do it; returns the id of the post, if it is one. A log-out drops the home feed."""
    stores, (what, account, followee) = bench.stores, operation
    if what == "post":
        return feeds.upload(bench, account)
    if what == "read":
        reader.home_page(stores, account, None, _PAGE)
    elif what == "log out":
        stores.redis.delete(stores.keys.homefeed(account))
    elif account != followee:
        follows.follow(stores, account, followee)
    return None
