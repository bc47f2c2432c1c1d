"""Compare thresholds with a rule that decides account by account, by rates. Pure.

The rule of *Feeding Frenzy* (Silberstein et al., SIGMOD 2010) weighs, for each pair of an author
and a reader, how often the author posts against how often the reader reads. A follower threshold
is a proxy for this rule. `per_account` estimates the saving of the rule over the best threshold.
`misfits` finds the accounts that the threshold treats worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from feedsvc.planning import costs as formulas
from feedsvc.planning.costs import Pushing
from feedsvc.routing.policy import Route, Thresholds, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feedsvc.planning.prediction import Prediction
    from feedsvc.planning.situation import Group, Situation

_MISFITS = 10
# The relative rounding error of a sum whose order has changed.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PerAccount:
    """The cost of the rule by rates, and its saving over the best threshold of the curve."""

    processor_seconds_per_day: float
    saves_per_day: float
    saves_share: float


@dataclass(frozen=True)
class Misfit:
    """An account that costs less on the other route.

    `pin` is that route, `saves_per_day` the processor seconds that a pin saves.
    """

    account_id: int
    follower_count: int
    posts_per_day: float
    route: str
    pin: str
    saves_per_day: float


def account_seconds(situation: Situation, group: Group) -> tuple[float, float]:
    """Return the cost of pushing and of pulling all posts of a group, in processor seconds a day.

    The estimate assumes that followers of different accounts read equally often. Each read by a
    follower merges the list, even if the list has nothing new, so a silent account costs something
    to pull. Each merged list costs as much as the average one if all accounts are pulled.
    """
    cell, share = group.cell, situation.survey.materialised_share
    pushing = Pushing(
        posts=cell.posts,
        small_posts=group.small_posts,
        micro_batches=group.small_posts / situation.posts_per_micro_batch,
        links=cell.posts * group.links,
        follower_ids=cell.follower_ids,
        empty_fetches=situation.empty_fetches(group),
    )
    merged = situation.reads_per_follow * cell.followers * (cell.posted / cell.accounts)
    push = formulas.push_seconds(situation.costs, pushing, share)
    return push, merged * situation.seconds_per_merged_list


def per_account(situation: Situation, curve: Sequence[Prediction]) -> PerAccount:
    """Return the cost of choosing the cheaper route for each account."""
    routes = sum(min(account_seconds(situation, group)) for group in situation.groups)
    total = routes + curve[0].base_seconds.value
    best = min(each.total_seconds.value for each in curve)
    # The estimate may be above the cost of the best threshold. A threshold is one possible rule, so
    # the cheapest rule costs no more.
    if total > best * (1 - _ROUNDING):
        total = best
    return PerAccount(total, best - total, (best - total) / best if best else 0.0)


def misfits(situation: Situation, route: Route) -> list[Misfit]:
    """Return the named accounts of one route that cost less on the other, largest saving first.

    Pinned accounts, and accounts that have never posted, are left out.
    """
    today = Thresholds(0, situation.today.promote_at, situation.today.demote_at)
    other = "pull" if route == "push" else "push"
    found = []
    for named in situation.survey.named:
        last_route = cast("Route | None", named.last_route)
        decision = decide(named.follower_count, last_route, today, None)
        if named.pin or named.entries == 0 or decision.route != route:
            continue
        push, pull = account_seconds(situation, situation.group(named.cell()))
        saves = push - pull if route == "push" else pull - push
        if saves > 0:
            account, followers = named.account_id, named.follower_count
            found.append(Misfit(account, followers, named.posts, route, other, saves))
    return sorted(found, key=lambda misfit: misfit.saves_per_day, reverse=True)[:_MISFITS]
