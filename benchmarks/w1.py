"""The mix W1: for each post 100 reads of home feeds, 10 follows and 5 log-outs (Pequod's Twip).

Readers are drawn evenly among the active accounts, posters by weight among all accounts, and
followees by their number of followers.
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

Kind = Literal["post", "read", "follow", "log out"]

MIX: dict[Kind, int] = {"post": 1, "read": 100, "follow": 10, "log out": 5}
_PAGE = 20


class Operation(NamedTuple):
    """One operation of an account; `followee` matters to a follow only."""

    kind: Kind
    account: int
    followee: int


def draw(
    sizes: Mapping[int, int], active: Sequence[int], count: int, source: random.Random
) -> list[Operation]:
    """Draw `count` operations; `sizes`: account -> number of followers."""
    posters = history.draw_posters(sizes, count, source)
    popular = source.choices(list(sizes), [1 + followers for followers in sizes.values()], k=count)
    kinds = source.choices(list(MIX), list(MIX.values()), k=count)
    return [
        Operation(kind, poster if kind == "post" else source.choice(active), followee)
        for kind, poster, followee in zip(kinds, posters, popular, strict=True)
    ]


def perform(bench: Bench, operation: Operation) -> int | None:
    """Perform an operation; return the id of an uploaded post. A log-out drops the home feed."""
    stores, (kind, account, followee) = bench.stores, operation
    if kind == "post":
        return feeds.upload(bench, account)
    if kind == "read":
        reader.home_page(stores, account, None, _PAGE)
    elif kind == "log out":
        stores.redis.delete(stores.keys.homefeed(account))
    elif account != followee:
        follows.follow(stores, account, followee)
    return None
