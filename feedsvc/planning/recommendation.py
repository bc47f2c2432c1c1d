"""Which threshold costs least and keeps the limits. Pure, but for `recommendation`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from feedsvc.formats import amount, whole
from feedsvc.planning import calibrated as calibration_store
from feedsvc.planning import rates
from feedsvc.planning.model import Estimate, Lines, saving
from feedsvc.planning.overview import SurveySummary, basis
from feedsvc.planning.preview import finite, situation_of
from feedsvc.planning.survey import stored
from feedsvc.routing import versions
from feedsvc.routing.policy import demote_at_in_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feedsvc.planning.calibrated import Calibrated
    from feedsvc.planning.model import Prediction, Situation
    from feedsvc.planning.rates import Misfit, PerAccount
    from feedsvc.routing.versions import PolicyInfo
    from feedsvc.store import Stores

Limit = Literal["max_delivery_seconds", "max_lists_per_read", "max_memory_bytes"]


@dataclass(frozen=True, kw_only=True)
class RecommendationLimits:
    """What a threshold has to keep; None: no limit. Lists per read are judged at p99."""

    max_delivery_seconds: float | None = None
    max_lists_per_read: float | None = None
    max_memory_bytes: float | None = None

    def broken_by(self, of: Prediction) -> dict[Limit, float]:
        """The limits that a prediction breaks, and by what factor."""
        found: dict[Limit, float] = {
            "max_delivery_seconds": _excess(
                of.seconds_to_last_follower.value, self.max_delivery_seconds
            ),
            "max_lists_per_read": _excess(of.lists.p99, self.max_lists_per_read),
            "max_memory_bytes": _excess(of.redis_bytes.value, self.max_memory_bytes),
        }
        return {name: factor for name, factor in found.items() if factor > 1}

    def most_broken_by(self, of: Prediction) -> Limit:
        """Of the limits that a prediction breaks, the one that it breaks by the largest factor."""
        broken = self.broken_by(of)
        return max(broken, key=lambda name: broken[name])


@dataclass(frozen=True)
class Point:
    """What one threshold does: processor seconds a day, and what limits are about."""

    promote_at: int
    demote_at: int
    push: float
    pull: float
    base: float
    total: float
    deliveries_per_day: float
    lists_per_read_mean: float
    lists_per_read_p99: float
    seconds_to_last_follower: float | None
    redis_bytes: float
    accounts_pulled: int
    breaks: list[Limit]


@dataclass(frozen=True)
class Saves:
    """Processor seconds a day that the recommended threshold saves over today's, and the half-width of the 95 % interval."""

    processor_seconds_per_day: float
    margin: float


@dataclass(frozen=True)
class Recommendation:
    """The threshold to choose, beside the one that holds."""

    current: PolicyInfo
    inputs: SurveySummary
    costs: Calibrated
    keep: bool
    keeps_limits: bool
    recommended: Point
    runner_up: Point | None
    today: Point
    binding_limit: Limit | None
    saves: Saves
    why: str
    curve: list[Point]
    per_account: PerAccount
    large_but_silent: list[Misfit]
    small_but_talkative: list[Misfit]


@dataclass(frozen=True)
class Choice:
    """What was chosen among the thresholds of a curve."""

    best: Prediction
    runner_up: Prediction | None
    binding: Limit | None
    keeps_limits: bool
    saves: Estimate

    def is_noise(self, today: Prediction) -> bool:
        """Whether today's is as good, as far as can be told."""
        return self.best is today or self.saves.value <= self.saves.margin


def recommendation(stores: Stores, limits: RecommendationLimits) -> Recommendation:
    """The threshold of least cost that keeps the limits. Raises `NoSurvey`."""
    now = versions.current(stores)
    calibrated = calibration_store.calibrated(stores)
    return advise(
        situation_of(stores.limits, stored.survey(stores), calibrated, now), calibrated, now, limits
    )


def advise(
    situation: Situation, calibrated: Calibrated, now: PolicyInfo, limits: RecommendationLimits
) -> Recommendation:
    """The same, of what was read."""
    today = situation.predict(situation.today)
    curve = [
        situation.predict(
            Lines(at.promote_at, demote_at_in_ratio(at.promote_at, now.promote_at, now.demote_at))
        )
        for at in situation.inputs.lists
    ]
    choice = choose(curve, today, limits)
    keep = not limits.broken_by(today) and choice.is_noise(today)
    best = today if keep else choice.best
    return Recommendation(
        current=now,
        inputs=basis(situation.inputs),
        costs=calibrated,
        keep=keep,
        keeps_limits=choice.keeps_limits,
        recommended=_point(best, limits),
        runner_up=_point(choice.runner_up, limits) if choice.runner_up else None,
        today=_point(today, limits),
        binding_limit=choice.binding,
        saves=Saves(0.0 if keep else choice.saves.value, choice.saves.margin),
        why=_why_keep(choice, today) if keep else _why_move(choice, today, limits),
        curve=[_point(each, limits) for each in curve],
        per_account=rates.per_account(situation, curve),
        large_but_silent=rates.misfits(situation, "pull"),
        small_but_talkative=rates.misfits(situation, "push"),
    )


def choose(curve: Sequence[Prediction], today: Prediction, limits: RecommendationLimits) -> Choice:
    """The cheapest that keeps the limits, and the next; if none does, the one that breaks them by the smallest factor."""
    by_cost = sorted(curve, key=_cost)
    allowed = [each for each in by_cost if not limits.broken_by(each)]
    if not allowed:
        by_excess = sorted(by_cost, key=lambda each: max(limits.broken_by(each).values()))
        return Choice(
            by_excess[0],
            None,
            limits.most_broken_by(by_excess[0]),
            keeps_limits=False,
            saves=saving(by_excess[0], today),
        )
    best = allowed[0]
    binding = limits.most_broken_by(by_cost[0]) if _cost(best) > _cost(by_cost[0]) else None
    return Choice(
        best,
        allowed[1] if len(allowed) > 1 else None,
        binding,
        keeps_limits=True,
        saves=saving(best, today),
    )


def _why_keep(choice: Choice, today: Prediction) -> str:
    """Why today's threshold stays."""
    if choice.best is today or choice.best.lines == today.lines or choice.saves.value <= 0:
        return f"No other threshold costs less than today's {whole(today.lines.promote_at)}."
    saves, margin = amount(choice.saves.value), amount(choice.saves.margin)
    best = whole(choice.best.lines.promote_at)
    return f"Keep today's: {best} would save {saves} ± {margin} processor seconds a day, which is within the noise."


def _why_move(choice: Choice, today: Prediction, limits: RecommendationLimits) -> str:
    """Why another threshold is better than today's."""
    best = whole(choice.best.lines.promote_at)
    if not choice.keeps_limits:
        return f"No threshold keeps the limits; {best} comes nearest to keeping {choice.binding}."
    reasons = []
    broken = limits.broken_by(today)
    if broken:
        reasons.append(f"today's {whole(today.lines.promote_at)} breaks {' and '.join(broken)}")
    if choice.saves.value > 0:
        reasons.append(
            f"it saves {amount(choice.saves.value)} ± {amount(choice.saves.margin)} processor seconds a day"
        )
    else:
        reasons.append(f"it costs {amount(-choice.saves.value)} processor seconds a day more")
    least = (
        f"{best} costs least of the thresholds that keep the limits"
        if choice.binding
        else f"{best} costs least"
    )
    bound = f" A cheaper one would break {choice.binding}." if choice.binding else ""
    return f"{least}: {', and '.join(reasons)}.{bound}"


def _point(of: Prediction, limits: RecommendationLimits) -> Point:
    return Point(
        promote_at=of.lines.promote_at,
        demote_at=of.lines.demote_at,
        push=of.push_seconds.value,
        pull=of.pull_seconds.value,
        base=of.base_seconds.value,
        total=of.total_seconds.value,
        deliveries_per_day=of.deliveries.value,
        lists_per_read_mean=of.lists.mean,
        lists_per_read_p99=of.lists.p99,
        seconds_to_last_follower=finite(of.seconds_to_last_follower.value),
        redis_bytes=of.redis_bytes.value,
        accounts_pulled=round(of.sums.pulled_accounts),
        breaks=list(limits.broken_by(of)),
    )


def _cost(of: Prediction) -> float:
    return of.total_seconds.value


def _excess(value: float, limit: float | None) -> float:
    if limit is None:
        return 0.0
    return value / limit if limit > 0 else math.inf * (value > 0) if value else 0.0
