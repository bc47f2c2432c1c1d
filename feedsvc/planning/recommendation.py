"""Recommend the threshold that costs least and keeps the limits. Pure except `recommendation`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from feedsvc.formats import amount, size, whole
from feedsvc.planning import rates
from feedsvc.planning.inputs import SurveySummary, summary
from feedsvc.planning.prediction import Estimate, Prediction, saving
from feedsvc.planning.preview import current_situation, finite
from feedsvc.planning.situation import Lines, Processes, Situation
from feedsvc.routing.policy import demote_at_in_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feedsvc.planning.learning import Learnt
    from feedsvc.planning.rates import Misfit, PerAccount
    from feedsvc.routing.guardrails import Guardrails
    from feedsvc.routing.versions import PolicyInfo
    from feedsvc.store import Stores

# A threshold less than this times the one from which on all lists fit into the near cache is near.
_NEAR = 2

Limit = Literal["max_delivery_seconds", "max_lists_per_read", "max_memory_bytes"]


@dataclass(frozen=True)
class Point:
    """The effect of one threshold: processor seconds a day, and the figures that limits concern."""

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
    fits_near_cache: bool
    missed_lists_per_read: float
    accounts_pulled: int
    breaks: list[Limit]


@dataclass(frozen=True)
class Saves:
    """The saving of the recommended threshold over today's, with its 95 % half-width."""

    processor_seconds_per_day: float
    margin: float


@dataclass(frozen=True)
class Recommendation:
    """The recommended threshold, next to today's.

    `lists_fit_from`: the lowest threshold of the curve at which all celebrity lists fit into the
    near cache of a process. `near_cache`: a sentence if the recommended threshold is lower, or not
    much higher.
    """

    current: PolicyInfo
    inputs: SurveySummary
    costs: Learnt
    processes: Processes
    keep: bool
    keeps_limits: bool
    recommended: Point
    runner_up: Point | None
    today: Point
    binding_limit: Limit | None
    saves: Saves
    why: str
    lists_fit_from: int
    near_cache: str | None
    curve: list[Point]
    per_account: PerAccount
    large_but_silent: list[Misfit]
    small_but_talkative: list[Misfit]


@dataclass(frozen=True)
class Choice:
    """The best threshold of a curve, and its saving over today's.

    `binding` is the limit that rules out the cheapest threshold of the curve. If no threshold keeps
    the limits, `binding` is the limit that the best threshold breaks most. None if the cheapest
    threshold keeps all limits.
    """

    best: Prediction
    runner_up: Prediction | None
    binding: Limit | None
    keeps_limits: bool
    saves: Estimate


def recommendation(
    stores: Stores, limits: Guardrails, processes: int | None = None
) -> Recommendation:
    """Recommend the threshold of least cost that keeps the limits. Raises `NoSurvey`.

    Only the three limits named in `Limit` are applied. The limit on lists per read applies to the
    99th percentile. `processes` replaces the counted number of processes that read.
    """
    current, costs, situation = current_situation(stores, processes)
    return advise(situation, costs, current, limits)


def advise(
    situation: Situation, costs: Learnt, current: PolicyInfo, limits: Guardrails
) -> Recommendation:
    """Recommend a threshold from a situation that was read before."""
    today = Prediction(situation, situation.today)
    ratio = current.promote_at, current.demote_at
    curve = [
        Prediction(situation, Lines(lists.promote_at, demote_at_in_ratio(lists.promote_at, *ratio)))
        for lists in situation.survey.lists
    ]
    choice = choose(curve, today, limits)
    is_noise = choice.saves.value <= choice.saves.margin
    keep = is_noise and not broken_limits(limits, today)
    recommended = today if keep else choice.best
    fit_from = min(
        (each.lines.promote_at for each in curve if each.cached_lists.fits),
        default=curve[-1].lines.promote_at,
    )
    return Recommendation(
        current=current,
        inputs=summary(situation.survey),
        costs=costs,
        processes=situation.processes,
        keep=keep,
        keeps_limits=choice.keeps_limits,
        recommended=_point(recommended, limits),
        runner_up=_point(choice.runner_up, limits) if choice.runner_up else None,
        today=_point(today, limits),
        binding_limit=choice.binding,
        saves=Saves(0.0 if keep else choice.saves.value, choice.saves.margin),
        why=_why_keep(choice, today) if keep else _why_move(choice, today, limits),
        lists_fit_from=fit_from,
        near_cache=_near_cache(recommended, fit_from),
        curve=[_point(each, limits) for each in curve],
        per_account=rates.per_account(situation, curve),
        large_but_silent=rates.misfits(situation, "pull"),
        small_but_talkative=rates.misfits(situation, "push"),
    )


def choose(curve: Sequence[Prediction], today: Prediction, limits: Guardrails) -> Choice:
    """Choose the cheapest threshold that keeps the limits, with the next one as runner-up.

    If no threshold keeps the limits, choose the one that breaks them by the smallest factor.
    """
    by_cost = sorted(curve, key=_cost)
    allowed = [each for each in by_cost if not broken_limits(limits, each)]
    if allowed:
        best, *others = allowed
        cheapest = by_cost[0]
        binding = _most_broken(limits, cheapest) if _cost(best) > _cost(cheapest) else None
    else:
        best, others = min(by_cost, key=lambda each: max(broken_limits(limits, each).values())), []
        binding = _most_broken(limits, best)
    runner_up = others[0] if others else None
    return Choice(best, runner_up, binding, bool(allowed), saving(best, today))


def broken_limits(limits: Guardrails, of: Prediction) -> dict[Limit, float]:
    """Return the limits that a prediction breaks, each with its value over the limit."""
    values: dict[Limit, float] = {
        "max_delivery_seconds": of.seconds_to_last_follower.value,
        "max_lists_per_read": of.lists.p99,
        "max_memory_bytes": of.redis_bytes.value,
    }
    excess = {name: _excess(value, getattr(limits, name)) for name, value in values.items()}
    return {name: factor for name, factor in excess.items() if factor > 1}


def _most_broken(limits: Guardrails, of: Prediction) -> Limit:
    excess = broken_limits(limits, of)
    return max(excess, key=lambda name: excess[name])


def _why_keep(choice: Choice, today: Prediction) -> str:
    if choice.best.lines == today.lines or choice.saves.value <= 0:
        others = "threshold" if choice.binding is None else "threshold that keeps the limits"
        return f"No other {others} costs less than today's {whole(today.lines.promote_at)}."
    saves, margin = amount(choice.saves.value), amount(choice.saves.margin)
    best = whole(choice.best.lines.promote_at)
    return (
        f"Keep today's: {best} would save {saves} ± {margin} processor seconds a day, "
        "which is within the noise."
    )


def _why_move(choice: Choice, today: Prediction, limits: Guardrails) -> str:
    best = whole(choice.best.lines.promote_at)
    if not choice.keeps_limits:
        return f"No threshold keeps the limits; {best} comes nearest to keeping {choice.binding}."
    saves, margin = choice.saves.value, amount(choice.saves.margin)
    reason = f"it costs {amount(-saves)} processor seconds a day more"
    if saves > 0:
        reason = f"it saves {amount(saves)} ± {margin} processor seconds a day"
    broken = broken_limits(limits, today)
    if broken:
        today_breaks = f"today's {whole(today.lines.promote_at)} breaks {' and '.join(broken)}"
        reason = f"{today_breaks}, and {reason}"
    if choice.binding is None:
        return f"{best} costs least: {reason}."
    return (
        f"{best} costs least of the thresholds that keep the limits: {reason}. "
        f"A cheaper one would break {choice.binding}."
    )


def _near_cache(recommended: Prediction, fit_from: int) -> str | None:
    """Return a sentence if the lists exceed the near cache at a threshold, or not far below it."""
    promote_at, room = recommended.lines.promote_at, recommended.situation.processes
    if promote_at >= _NEAR * fit_from or fit_from == 1:
        return None
    exceed = (
        f"Below {whole(fit_from)} the celebrity lists exceed the near cache of a process "
        f"({size(room.near_cache_bytes)})"
    )
    if recommended.cached_lists.fits:
        return f"{exceed}, and {whole(promote_at)} is near that."
    missed = amount(recommended.lists.mean * recommended.cached_lists.missed_share)
    return f"{exceed}: at {whole(promote_at)} a read fetches {missed} lists."


def _point(of: Prediction, limits: Guardrails) -> Point:
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
        fits_near_cache=of.cached_lists.fits,
        missed_lists_per_read=of.lists.mean * of.cached_lists.missed_share,
        accounts_pulled=round(of.pulled(lambda cell: cell.accounts)),
        breaks=list(broken_limits(limits, of)),
    )


def _cost(of: Prediction) -> float:
    return of.total_seconds.value


def _excess(value: float, limit: float | None) -> float:
    """Return a value as a multiple of its limit; infinite if the limit is 0."""
    if limit is None or value == 0:
        return 0.0
    return value / limit if limit > 0 else math.inf
