"""The mixes W1, W2 and W3: kinds of operations with their weights, and how accounts are drawn.

- W1 is Pequod's Twip: 70 % of the accounts are active. Readers, followers and log-outs are drawn
  evenly among them, posters by how much they post, and followees by their number of followers.
- W2 is DeathStarBench's social network: every account is drawn evenly, posters too.
- W3 is Retwis: readers and followers are drawn evenly among all accounts, posters and followees as
  in W1. A new account has no followers and follows nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from benchmarks import feeds, history
from feedsvc.feed import profile, reader
from feedsvc.graph import accounts, follows

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from benchmarks.service import Bench

Kind = Literal["post", "read", "profile", "follow", "log out", "new account"]

_PAGE = 20


class Operation(NamedTuple):
    """One operation of an account. `other`: the followee, or the author of the profile."""

    kind: Kind
    account: int
    other: int


@dataclass(frozen=True)
class Population:
    """The accounts of a mix. `sizes`: account -> followers; `posting`: account -> weight.

    `active`: the accounts that read, follow and log out.
    """

    sizes: Mapping[int, int]
    posting: Mapping[int, float]
    active: Sequence[int]


@dataclass(frozen=True)
class Mix:
    """A mix: the weight of each kind of operation. `operations`: the usual number for one run."""

    name: str
    kinds: Mapping[Kind, int]
    operations: int
    active_share: float = 1.0
    posts_evenly: bool = False

    @property
    def reads_per_post(self) -> float:
        """Return the number of home feed reads for each post."""
        return self.kinds["read"] / self.kinds["post"]

    def population(self, sizes: Mapping[int, int], source: random.Random) -> Population:
        """Draw the active accounts, and how much each account posts."""
        active = source.sample(sorted(sizes), max(1, round(len(sizes) * self.active_share)))
        if self.posts_evenly:
            return Population(sizes, dict.fromkeys(sizes, 1.0), active)
        return Population(sizes, history.posting_weights(sizes, source), active)

    def draw(self, among: Population, count: int, source: random.Random) -> list[Operation]:
        """Draw `count` operations."""
        posters = history.draw_posters(among.posting, count, source)
        popular = source.choices(
            list(among.sizes), [1 + followers for followers in among.sizes.values()], k=count
        )
        kinds = source.choices(list(self.kinds), list(self.kinds.values()), k=count)
        accounts, first_new = list(among.sizes), max(among.sizes) + 1
        drawn = []
        for number, (kind, poster, followee) in enumerate(
            zip(kinds, posters, popular, strict=True)
        ):
            account = poster if kind == "post" else source.choice(among.active)
            if kind == "new account":
                account = first_new + number
            author = source.choice(accounts) if kind == "profile" else followee
            drawn.append(Operation(kind, account, author))
        return drawn


# The usual numbers of operations have 160 to 900 posts, and enough reads to measure their lists.
W1 = Mix("W1", {"post": 1, "read": 100, "follow": 10, "log out": 5}, 18_560, active_share=0.7)
W2 = Mix("W2", {"post": 10, "read": 60, "profile": 30}, 6_000, posts_evenly=True)
W3 = Mix("W3", {"post": 30, "read": 50, "follow": 15, "new account": 5}, 3_000)
MIXES = {mix.name: mix for mix in (W1, W2, W3)}


def perform(bench: Bench, operation: Operation) -> int | None:
    """Perform an operation; return the id of an uploaded post. A log-out drops the home feed."""
    stores, (kind, account, other) = bench.stores, operation
    if kind == "post":
        return feeds.upload(bench, account)
    if kind == "read":
        reader.home_page(stores, account, None, _PAGE)
    elif kind == "profile":
        profile.profile_page(stores, account, other, None, _PAGE)
    elif kind == "log out":
        stores.redis.delete(stores.keys.homefeed(account))
    elif kind == "new account":
        accounts.create(stores, account)
    elif account != other:
        follows.follow(stores, account, other)
    return None
