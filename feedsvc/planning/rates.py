"""What no follower threshold can save. Pure.

The rule of *Feeding Frenzy* (Silberstein et al., SIGMOD 2010) weighs, for each pair of an author and a reader, how often the one
posts against how often the other reads. A follower threshold is a proxy for it: `per_account` says what deciding by rates, account
by account, would save over the best threshold there is, and the misfits are the accounts that the proxy gets most wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.planning import costs as formulas
from feedsvc.planning.costs import Pulling, Pushing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from feedsvc.planning.model import Lines, Prediction, Situation
    from feedsvc.planning.survey.aggregates import Cell, NamedAccount

_MISFITS = 10
# Sums of the same numbers in another order.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PerAccount:
    """What a rule by rates costs, account by account, and what it saves over the best threshold of the curve."""

    processor_seconds_per_day: float
    saves_per_day: float
    saves_share: float


@dataclass(frozen=True)
class Misfit:
    """An account on the wrong side of any threshold near today's, and what pinning it to the other route saves."""

    account_id: int
    follower_count: int
    posts_per_day: float
    route: str
    pin: str
    saves_per_day: float


def account_seconds(situation: Situation, cell: Cell) -> tuple[float, float]:
    """What pushing and what pulling all posts of these accounts costs, in processor seconds a day.

    Followers of different accounts are taken to read alike. A list counts with every read of a follower, whether or not there is
    anything new on it: so a silent account is not free to pull.
    """
    inputs = situation.inputs
    followers = cell.follower_ids / cell.posts if cell.posts else 0.0
    links = cell.posts * situation.batches.links(followers)
    small = 0.0 if links else cell.posts
    pushing = Pushing(
        posts=cell.posts,
        small_posts=small,
        rounds=small / situation.posts_a_round,
        links=links,
        follower_ids=cell.follower_ids,
    )
    merged = _reads_of_a_follow(situation) * cell.followers * (cell.posted / cell.accounts)
    everybody = inputs.lists[0]
    entries = merged * everybody.entries / everybody.mean if merged else 0.0
    tenfolds = merged * formulas.tenfolds(situation.authors)
    pulling = Pulling(lists=merged, tenfolds=tenfolds, entries=entries, posts=cell.posts)
    push = formulas.push_seconds(situation.costs, pushing, inputs.materialised_share)
    return push, formulas.pull_seconds(situation.costs, pulling)


def _reads_of_a_follow(situation: Situation) -> float:
    """Reads a day of the average follower of an account that has posted: all merges, if everybody were pulled, over all follows."""
    inputs = situation.inputs
    groups = [group.cell for group in situation.groups]
    follows = sum(cell.followers * cell.posted / cell.accounts for cell in groups)
    return inputs.reads * inputs.lists[0].mean / follows if follows else 0.0


def per_account(situation: Situation, curve: Sequence[Prediction]) -> PerAccount:
    """The sum over all accounts of the cheaper route; the pulled lists' first-list share as a threshold with as many lists has it."""
    costs = [account_seconds(situation, group.cell) for group in situation.groups]
    inputs = situation.inputs
    parts = sum(min(pair) for pair in costs)
    held = sum(
        group.cell.posted
        for group, (push, pull) in zip(situation.groups, costs, strict=True)
        if pull <= push
    )
    lists = sum(pull for push, pull in costs if pull <= push)
    everybody = sum(pull for _, pull in costs) or 1.0
    merging = min(1.0, inputs.lists[0].merging * lists / everybody) if lists else 0.0
    reading = Pulling(
        look_ups=inputs.reads * formulas.tenfolds(held), merging_reads=inputs.reads * merging
    )
    total = parts + formulas.pull_seconds(situation.costs, reading) + curve[0].base_seconds.value
    best = min(each.total_seconds.value for each in curve)
    if total > best * (1 - _ROUNDING):  # one of the rules by rates is the best threshold itself
        total = best
    return PerAccount(total, best - total, (best - total) / best if best else 0.0)


def misfits(situation: Situation, route: str) -> list[Misfit]:
    """The named accounts of this route that would cost less on the other, those that would save most first."""
    found = sorted(_wrong(situation, route), key=lambda each: each.saves_per_day, reverse=True)
    return found[:_MISFITS]


def _wrong(situation: Situation, route: str) -> Iterator[Misfit]:
    for named in situation.inputs.named:
        if named.pin or named.entries == 0 or _route_today(named, situation.today) != route:
            continue
        push, pull = account_seconds(situation, named.cell())
        saves = push - pull if route == "push" else pull - push
        if saves > 0:
            other = "pull" if route == "push" else "push"
            yield Misfit(named.account_id, named.follower_count, named.posts, route, other, saves)


def _route_today(named: NamedAccount, today: Lines) -> str:
    if named.follower_count >= today.promote_at:
        return "pull"
    return "push" if named.follower_count < today.demote_at else named.last_route or "push"
