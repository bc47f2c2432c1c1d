"""What a change of the threshold would do, beside what holds today: from kept aggregates, without a look at any account.

Others build on `preview`: guardrails refuse with its numbers, the record keeps them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.errors import Invalid
from feedsvc.threshold import kept, policies
from feedsvc.threshold.costs import Batches
from feedsvc.threshold.model import Estimate, Lines, Situation
from feedsvc.threshold.words import in_words

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from feedsvc.store import Limits, Stores
    from feedsvc.threshold.inputs import Inputs, Named
    from feedsvc.threshold.kept import Calibrated
    from feedsvc.threshold.model import Group, Prediction
    from feedsvc.threshold.policies import PolicyInfo

_NAMED = 10


@dataclass(frozen=True)
class Figure:
    """A value today, and under the proposed lines, with the half-width of its 95 % interval. None: without bound, or not known."""

    today: float | None
    proposed: float | None
    change: float | None
    margin: float | None


@dataclass(frozen=True)
class Account:
    """An account by name."""

    account_id: int
    follower_count: int
    posts_per_day: float


@dataclass(frozen=True)
class Side:
    """The accounts that change to one route, the deliveries a day that this saves or adds, and the largest of them."""

    accounts: float
    deliveries_per_day: float
    largest: list[Account]


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
class Basis:
    """What the figures rest on."""

    taken_at: dt.datetime
    window_seconds: float
    accounts: int
    largest: int
    posts_per_day: float
    reads_per_day: float
    viewers_sampled: int
    materialised_share: float
    assumed: list[str]


@dataclass(frozen=True)
class Preview:
    """What a change would do."""

    current: PolicyInfo
    proposed: Lines
    inputs: Basis
    costs: Calibrated
    to_pull: Side
    to_push: Side
    deliveries_per_day: Figure
    lists_per_read: ListsPerRead
    processor_seconds_per_day: ProcessorSeconds
    redis_bytes: Figure
    redis_bytes_per_day: Figure
    seconds_to_last_follower: Figure

    @property
    def words(self) -> list[str]:
        """The same in sentences."""
        return in_words(self)


def preview(stores: Stores, promote_at: int, demote_at: int | None = None) -> Preview:
    """What these lines would do; without `demote_at` the second line keeps today's ratio to the first.

    Raises `NoInputs`, and `Invalid` unless promote_at ≥ demote_at ≥ 1.
    """
    now = policies.current(stores)
    lines = Lines(promote_at, ratio_kept(now, promote_at) if demote_at is None else demote_at)
    if not lines.promote_at >= lines.demote_at >= 1:
        raise Invalid("query", "demote_at", f"Must be at least 1 and at most promote_at ({promote_at}).")
    calibrated = kept.calibrated(stores)
    situation = situation_of(stores.limits, kept.inputs(stores), calibrated, now)
    return _compared(now, calibrated, situation, lines)


def ratio_kept(now: PolicyInfo, promote_at: int) -> int:
    """The demote line that stands to this promote line as today's does."""
    return max(1, min(promote_at, round(promote_at * now.demote_at / now.promote_at)))


def situation_of(limits: Limits, inputs: Inputs, calibrated: Calibrated, now: PolicyInfo) -> Situation:
    """All that predictions need."""
    batches = Batches(batch=limits.fanout_batch, small=limits.fanout_slice)
    today = Lines(now.promote_at, now.demote_at)
    return Situation(inputs, calibrated.costs, calibrated.margins, calibrated.workers, batches, today)


def basis(inputs: Inputs) -> Basis:
    """What the inputs say of themselves."""
    return Basis(
        taken_at=inputs.taken_at,
        window_seconds=inputs.window_seconds,
        accounts=inputs.accounts,
        largest=inputs.largest,
        posts_per_day=inputs.posts,
        reads_per_day=inputs.reads,
        viewers_sampled=inputs.viewers_sampled,
        materialised_share=inputs.materialised_share,
        assumed=inputs.assumed,
    )


def figure(today: Estimate, proposed: Estimate) -> Figure:
    """The two beside each other."""
    is_bounded = math.isfinite(today.value) and math.isfinite(proposed.value)
    return Figure(
        finite(today.value), finite(proposed.value), proposed.value - today.value if is_bounded else None, finite(proposed.margin)
    )


def finite(value: float) -> float | None:
    """None for infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def _compared(now: PolicyInfo, calibrated: Calibrated, situation: Situation, lines: Lines) -> Preview:
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
        lists_per_read=_lists(beside, exact=situation.inputs.viewers_sampled == situation.inputs.accounts),
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


def _lists(beside: Callable[[Callable[[Prediction], Estimate]], Figure], *, exact: bool) -> ListsPerRead:
    return ListsPerRead(
        mean=beside(lambda of: Estimate(of.lists.mean, of.lists.mean_margin)),
        p50=beside(lambda of: Estimate(of.lists.p50, of.lists.p50_margin)),
        p99=beside(lambda of: Estimate(of.lists.p99, of.lists.p99_margin)),
        max=beside(lambda of: Estimate(of.lists.largest, 0.0 if exact else math.inf)),
    )


def _side(situation: Situation, lines: Lines, *, to_pull: bool) -> Side:
    """The accounts that change to pull, or to push."""
    share = situation.inputs.materialised_share
    moved = [(group, _moved(situation, group, lines, to_pull=to_pull)) for group in situation.groups]
    return Side(
        accounts=round(sum(part * group.cell.accounts for group, part in moved)),
        deliveries_per_day=sum(part * group.cell.follower_ids for group, part in moved) * share,
        largest=_largest(situation, lines, to_pull=to_pull),
    )


def _moved(situation: Situation, group: Group, lines: Lines, *, to_pull: bool) -> float:
    change = situation.pulled_share(group, lines) - situation.pulled_share(group, situation.today)
    return max(0.0, change if to_pull else -change)


def _largest(situation: Situation, lines: Lines, *, to_pull: bool) -> list[Account]:
    changing = [named for named in situation.inputs.named if _moved(situation, situation.group(named), lines, to_pull=to_pull)]
    changing.sort(key=_size, reverse=True)
    return [Account(named.account_id, named.follower_count, named.posts) for named in changing[:_NAMED]]


def _size(named: Named) -> int:
    return named.follower_count
