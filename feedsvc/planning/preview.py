"""Preview a change of the threshold: its effects next to today's figures, from the latest survey.

A preview reads no account. The guardrails judge a change by the figures of its preview. The record
of versions stores the preview.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.formats import amount, seconds_or_ms, size, whole
from feedsvc.planning import unit_costs
from feedsvc.planning.costs import Batches
from feedsvc.planning.inputs import SurveySummary, latest_survey, summary
from feedsvc.planning.prediction import Estimate, Prediction
from feedsvc.planning.situation import Group, Lines, Processes, Situation
from feedsvc.routing import versions
from feedsvc.routing.policy import demote_at_in_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.planning.learning import Learnt
    from feedsvc.routing.versions import PolicyInfo
    from feedsvc.store import Stores

# How many of the accounts that change their route a preview names.
_NAMED = 10


@dataclass(frozen=True)
class Figure:
    """A value today, its value with the proposed thresholds, and the change from one to the other.

    `margin` is the half-width of the 95 % interval of `proposed`. None in `today` or `proposed`
    stands for a value without bound. `change` is None if `today` or `proposed` is. None in `margin`
    stands for a margin without bound or an unknown one.
    """

    today: float | None
    proposed: float | None
    change: float | None
    margin: float | None


@dataclass(frozen=True)
class MovedAccount:
    """One account that changes its route."""

    account_id: int
    follower_count: int
    posts_per_day: float


@dataclass(frozen=True)
class Side:
    """The accounts that change to one route, and the largest of them.

    `deliveries_per_day` are saved by a change to pull, and added by a change to push.
    """

    accounts: float
    deliveries_per_day: float
    largest: list[MovedAccount]


@dataclass(frozen=True)
class ListsPerRead:
    """How many celebrity lists a read merges.

    `max` is the maximum over the viewers of the survey's sample. Other viewers may merge more.
    """

    mean: Figure
    p50: Figure
    p99: Figure
    max: Figure


@dataclass(frozen=True)
class ProcessorSeconds:
    """Processor seconds a day. No threshold changes `base`."""

    push: Figure
    pull: Figure
    base: Figure
    total: Figure


@dataclass(frozen=True)
class Preview:
    """The effects of a change, each next to today's figure."""

    current: PolicyInfo
    proposed: Lines
    inputs: SurveySummary
    costs: Learnt
    processes: Processes
    to_pull: Side
    to_push: Side
    deliveries_per_day: Figure
    lists_per_read: ListsPerRead
    processor_seconds_per_day: ProcessorSeconds
    redis_bytes: Figure
    redis_bytes_per_day: Figure
    seconds_to_last_follower: Figure


def preview(
    stores: Stores, promote_at: int, demote_at: int | None = None, processes: int | None = None
) -> Preview:
    """Preview a change to the given thresholds. Raises `NoSurvey`.

    Callers make sure that promote_at ≥ demote_at ≥ 1. Without `demote_at`, the lower threshold
    keeps today's ratio to the upper one. `processes` replaces the counted number of processes that
    read.
    """
    current, costs, situation = current_situation(stores, processes)
    if demote_at is None:
        demote_at = demote_at_in_ratio(promote_at, current.promote_at, current.demote_at)
    lines = Lines(promote_at, demote_at)
    today, proposed = Prediction(situation, situation.today), Prediction(situation, lines)

    def figure(of: Callable[[Prediction], Estimate]) -> Figure:
        before, after = of(today), of(proposed)
        # Infinity - infinity is not a number. `finite` turns it into None.
        change = finite(after.value - before.value)
        return Figure(finite(before.value), finite(after.value), change, finite(after.margin))

    survey = situation.survey
    max_margin = 0.0 if survey.viewers_sampled == survey.accounts else math.inf
    return Preview(
        current=current,
        proposed=lines,
        inputs=summary(survey),
        costs=costs,
        processes=situation.processes,
        to_pull=_side(situation, lines, to_pull=True),
        to_push=_side(situation, lines, to_pull=False),
        deliveries_per_day=figure(lambda of: of.deliveries),
        lists_per_read=ListsPerRead(
            mean=figure(lambda of: Estimate(of.lists.mean, of.lists.mean_margin)),
            p50=figure(lambda of: Estimate(of.lists.p50, of.lists.p50_margin)),
            p99=figure(lambda of: Estimate(of.lists.p99, of.lists.p99_margin)),
            max=figure(lambda of: Estimate(of.lists.largest, max_margin)),
        ),
        processor_seconds_per_day=ProcessorSeconds(
            push=figure(lambda of: of.push_seconds),
            pull=figure(lambda of: of.pull_seconds),
            base=figure(lambda of: of.base_seconds),
            total=figure(lambda of: of.total_seconds),
        ),
        redis_bytes=figure(lambda of: of.redis_bytes),
        redis_bytes_per_day=figure(lambda of: of.redis_bytes_per_day),
        seconds_to_last_follower=figure(lambda of: of.seconds_to_last_follower),
    )


def current_situation(
    stores: Stores, processes: int | None = None
) -> tuple[PolicyInfo, Learnt, Situation]:
    """Return today's policy, the unit costs, and the situation to predict from.

    `processes`: the number of processes that read, if not today's. Raises `NoSurvey`.
    """
    current, survey = versions.current(stores), latest_survey(stores)
    costs = unit_costs.learnt(stores, survey.work)
    situation = Situation(
        survey,
        costs.costs,
        costs.margins,
        Processes(
            working=survey.working_processes,
            reading=processes or survey.reading_processes,
            near_cache_bytes=stores.limits.near_cache_bytes,
        ),
        Batches(batch=stores.limits.fanout_batch, small=stores.limits.fanout_slice),
        Lines(current.promote_at, current.demote_at),
    )
    return current, costs, situation


def finite(value: float) -> float | None:
    """Return a number that JSON can write; None for infinity and for not-a-number."""
    return value if math.isfinite(value) else None


def in_words(shown: Preview) -> list[str]:
    """Return a preview as sentences, the most visible effect first."""
    seconds, lists = shown.processor_seconds_per_day, shown.lists_per_read
    push, pull, total = (
        _compared(part, amount) for part in (seconds.push, seconds.pull, seconds.total)
    )
    moved = [
        f"{whole(side.accounts)} "
        f"{'account changes' if side.accounts == 1 else 'accounts change'} to {route}"
        for side, route in ((shown.to_pull, "pull"), (shown.to_push, "push"))
        if side.accounts
    ]
    mean, p99 = _compared(lists.mean, amount), _compared(lists.p99, amount)
    sentences = [
        f"{' and '.join(moved) or 'No account changes its route'}.",
        f"Deliveries a day: {_compared(shown.deliveries_per_day, whole)}.",
        f"Lists merged per read, on average: {mean}; at p99: {p99}.",
        f"Processor seconds a day: {total} (push {push}; pull {pull}).",
        f"Redis memory for feeds and lists: {_compared(shown.redis_bytes, size)}.",
        f"Upload to last follower: {_compared(shown.seconds_to_last_follower, seconds_or_ms)}.",
    ]
    if shown.inputs.assumed:
        sentences.append(
            f"Too few {' and '.join(shown.inputs.assumed)} have been counted. "
            "The figures about them rest on assumptions."
        )
    if shown.costs.is_default:
        sentences.append(
            "Too few reads and fan-outs have been counted to learn the unit costs. "
            "Some of them are documented defaults. Run feedsvc threshold calibrate."
        )
    return sentences


def _compared(figure: Figure, spell: Callable[[float], str]) -> str:
    today, proposed = (
        "without end" if value is None else spell(value)
        for value in (figure.today, figure.proposed)
    )
    margin = f" ± {spell(figure.margin)}" if figure.margin else ""
    return f"{proposed}{margin}, today {today}"


def _side(situation: Situation, lines: Lines, *, to_pull: bool) -> Side:
    """Return the accounts that change to pull, or to push."""

    def moved_share(group: Group) -> float:
        share = situation.pulled_share(group, lines)
        change = share - situation.pulled_share(group, situation.today)
        return max(0.0, change if to_pull else -change)

    survey = situation.survey
    moved = [(group.cell, moved_share(group)) for group in situation.groups]
    follower_ids = sum(share * cell.follower_ids for cell, share in moved)
    named = [each for each in survey.named if moved_share(situation.group(each.cell(), each.pin))]
    named.sort(key=lambda each: each.follower_count, reverse=True)
    return Side(
        accounts=round(sum(share * cell.accounts for cell, share in moved)),
        deliveries_per_day=follower_ids * survey.materialised_share,
        largest=[
            MovedAccount(each.account_id, each.follower_count, each.posts)
            for each in named[:_NAMED]
        ],
    )
