"""What a change of the threshold would do, beside what holds today: from kept aggregates, without a look at any account.

Others build on `preview`: guardrails refuse with its numbers, the record keeps them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.errors import Invalid
from feedsvc.planning import calibrated as calibration_store
from feedsvc.planning.costs import Batches
from feedsvc.planning.model import Estimate, Lines, Situation
from feedsvc.planning.overview import SurveySummary, basis
from feedsvc.planning.survey import stored
from feedsvc.routing import versions
from feedsvc.routing.policy import demote_at_in_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.planning.calibrated import Calibrated
    from feedsvc.planning.model import Group, Prediction
    from feedsvc.planning.survey.aggregates import NamedAccount, Survey
    from feedsvc.routing.versions import PolicyInfo
    from feedsvc.settings import Settings
    from feedsvc.store import Stores

_NAMED = 10


@dataclass(frozen=True)
class Figure:
    """A value today, and under the proposed lines, with the half-width of its 95 % interval. None: without bound, or not known."""

    today: float | None
    proposed: float | None
    change: float | None
    margin: float | None


@dataclass(frozen=True)
class MovedAccount:
    """An account by name."""

    account_id: int
    follower_count: int
    posts_per_day: float


@dataclass(frozen=True)
class Side:
    """The accounts that change to one route, the deliveries a day that this saves or adds, and the largest of them."""

    accounts: float
    deliveries_per_day: float
    largest: list[MovedAccount]


@dataclass(frozen=True)
class ListsPerRead:
    """How many celebrity lists a read merges. The largest is that of the viewers looked at: more is possible."""

    mean: Figure
    p50: Figure
    p99: Figure
    max: Figure


@dataclass(frozen=True)
class ProcessorSeconds:
    """Processor seconds a day: pushing, pulling, what no threshold changes, and all of it."""

    push: Figure
    pull: Figure
    base: Figure
    total: Figure


@dataclass(frozen=True)
class Preview:
    """What a change would do."""

    current: PolicyInfo
    proposed: Lines
    inputs: SurveySummary
    costs: Calibrated
    to_pull: Side
    to_push: Side
    deliveries_per_day: Figure
    lists_per_read: ListsPerRead
    processor_seconds_per_day: ProcessorSeconds
    redis_bytes: Figure
    redis_bytes_per_day: Figure
    seconds_to_last_follower: Figure


def preview(stores: Stores, promote_at: int, demote_at: int | None = None) -> Preview:
    """What these lines would do; without `demote_at` the second line keeps today's ratio to the first.

    Raises `NoSurvey`, and `Invalid` unless promote_at ≥ demote_at ≥ 1.
    """
    now = versions.current(stores)
    lines = Lines(
        promote_at,
        demote_at_in_ratio(promote_at, now.promote_at, now.demote_at)
        if demote_at is None
        else demote_at,
    )
    if not lines.promote_at >= lines.demote_at >= 1:
        raise Invalid(
            "query", "demote_at", f"Must be at least 1 and at most promote_at ({promote_at})."
        )
    calibrated = calibration_store.calibrated(stores)
    situation = situation_of(stores.limits, stored.survey(stores), calibrated, now)
    return _compared(now, calibrated, situation, lines)


def situation_of(
    limits: Settings, inputs: Survey, calibrated: Calibrated, now: PolicyInfo
) -> Situation:
    """All that predictions need."""
    batches = Batches(batch=limits.fanout_batch, small=limits.fanout_slice)
    today = Lines(now.promote_at, now.demote_at)
    return Situation(
        inputs, calibrated.costs, calibrated.margins, calibrated.workers, batches, today
    )


def figure(today: Estimate, proposed: Estimate) -> Figure:
    """The two beside each other."""
    is_bounded = math.isfinite(today.value) and math.isfinite(proposed.value)
    return Figure(
        finite(today.value),
        finite(proposed.value),
        proposed.value - today.value if is_bounded else None,
        finite(proposed.margin),
    )


def finite(value: float) -> float | None:
    """None for infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def _compared(
    now: PolicyInfo, calibrated: Calibrated, situation: Situation, lines: Lines
) -> Preview:
    today, proposed = situation.predict(situation.today), situation.predict(lines)

    def beside(of: Callable[[Prediction], Estimate]) -> Figure:
        return figure(of(today), of(proposed))

    return Preview(
        current=now,
        proposed=lines,
        inputs=basis(situation.inputs),
        costs=calibrated,
        to_pull=_side(situation, lines, to_pull=True),
        to_push=_side(situation, lines, to_pull=False),
        deliveries_per_day=beside(lambda of: of.deliveries),
        lists_per_read=_lists(
            beside, exact=situation.inputs.viewers_sampled == situation.inputs.accounts
        ),
        processor_seconds_per_day=ProcessorSeconds(
            push=beside(lambda of: of.push_seconds),
            pull=beside(lambda of: of.pull_seconds),
            base=beside(lambda of: of.base_seconds),
            total=beside(lambda of: of.total_seconds),
        ),
        redis_bytes=beside(lambda of: of.redis_bytes),
        redis_bytes_per_day=beside(lambda of: of.redis_bytes_per_day),
        seconds_to_last_follower=beside(lambda of: of.seconds_to_last_follower),
    )


def _lists(
    beside: Callable[[Callable[[Prediction], Estimate]], Figure], *, exact: bool
) -> ListsPerRead:
    return ListsPerRead(
        mean=beside(lambda of: Estimate(of.lists.mean, of.lists.mean_margin)),
        p50=beside(lambda of: Estimate(of.lists.p50, of.lists.p50_margin)),
        p99=beside(lambda of: Estimate(of.lists.p99, of.lists.p99_margin)),
        max=beside(lambda of: Estimate(of.lists.largest, 0.0 if exact else math.inf)),
    )


def _side(situation: Situation, lines: Lines, *, to_pull: bool) -> Side:
    """The accounts that change to pull, or to push."""
    share = situation.inputs.materialised_share
    moved = [
        (group, _moved(situation, group, lines, to_pull=to_pull)) for group in situation.groups
    ]
    return Side(
        accounts=round(sum(part * group.cell.accounts for group, part in moved)),
        deliveries_per_day=sum(part * group.cell.follower_ids for group, part in moved) * share,
        largest=_largest(situation, lines, to_pull=to_pull),
    )


def _moved(situation: Situation, group: Group, lines: Lines, *, to_pull: bool) -> float:
    change = situation.pulled_share(group, lines) - situation.pulled_share(group, situation.today)
    return max(0.0, change if to_pull else -change)


def _largest(situation: Situation, lines: Lines, *, to_pull: bool) -> list[MovedAccount]:
    changing = [
        named
        for named in situation.inputs.named
        if _moved(situation, situation.group(named), lines, to_pull=to_pull)
    ]
    changing.sort(key=_size, reverse=True)
    return [
        MovedAccount(named.account_id, named.follower_count, named.posts)
        for named in changing[:_NAMED]
    ]


def _size(named: NamedAccount) -> int:
    return named.follower_count
