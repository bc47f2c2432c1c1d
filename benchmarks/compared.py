"""What was measured at each threshold, beside what the model says of it. Pure.

Push is what uploads cost more than if their posts are pulled, in the same round, and all that goes on behind them. Pull is what reads
cost more than the same reads by a process that sees no celebrity list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.service import WORKERS
from benchmarks.sweep import BLIND, READ
from benchmarks.w1 import MIX
from feedsvc.planning import costs as formulas
from feedsvc.planning.costs import Batches, Pushing
from feedsvc.planning.model import Lines, Situation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sweep import Run
    from feedsvc.planning.costs import UnitCosts
    from feedsvc.planning.survey.aggregates import Survey
    from feedsvc.settings import Settings

PULL, PUSH = 1, 10**9


@dataclass(frozen=True)
class Round:
    """Unit costs, and a run for each threshold."""

    costs: UnitCosts
    runs: dict[int, Run]


@dataclass(frozen=True)
class Found:
    """All rounds on one graph."""

    inputs: Survey
    limits: Settings
    recommended: int
    rounds: Sequence[Round]
    server: str


@dataclass(frozen=True)
class Pair:
    """One figure, by round."""

    measured: list[float]
    predicted: list[float]

    @property
    def error(self) -> float:
        """How far the prediction is off, as a share of what was measured: the median of the rounds' ratios, less one."""
        return median(_ratio(*both) for both in zip(self.predicted, self.measured, strict=True)) - 1


@dataclass(frozen=True)
class Line:
    """One threshold."""

    promote_at: int
    push: Pair
    pull: Pair
    lists: Pair
    total: list[float]


def as_mixed(inputs: Survey) -> Survey:
    """The same system with as many reads for each post as the mix has."""
    reads = inputs.posts * MIX["read"] / MIX["post"]
    return replace(inputs, reads=reads, reads_margin=0.0)


def compare(found: Found) -> list[Line]:
    """Every threshold that was run, ascending."""
    return [
        line(found, promote_at)
        for promote_at in sorted({at for each in found.rounds for at in each.runs})
    ]


def line(found: Found, promote_at: int) -> Line:
    """What was measured and predicted at one threshold."""
    rounds = [each for each in found.rounds if promote_at in each.runs]
    return Line(
        promote_at,
        Pair(
            [_push(each, promote_at) for each in rounds],
            [_push_predicted(found, each, promote_at) for each in rounds],
        ),
        Pair(
            [_pull(each, promote_at) for each in rounds],
            [_pull_predicted(found, each, promote_at) for each in rounds],
        ),
        Pair(
            [each.runs[promote_at].lists / each.runs[promote_at].reads for each in rounds],
            [found.inputs.lists_at(promote_at).mean for _ in rounds],
        ),
        [_total(each, promote_at) for each in rounds],
    )


def _push(of: Round, promote_at: int) -> float:
    run, pure = of.runs[promote_at], of.runs[PULL]
    return run.seconds["post"] - pure.seconds["post"] + _behind(of, promote_at)


def _behind(of: Round, promote_at: int) -> float:
    """What processes use that wait is known from pure pull, where nothing is behind the uploads."""
    run, pure = of.runs[promote_at], of.runs[PULL]
    return run.behind - pure.behind * run.wall / pure.wall


def _pull(of: Round, promote_at: int) -> float:
    run = of.runs[promote_at]
    return (run.seconds[READ] - run.seconds[BLIND]) / max(1, run.operations[READ]) * run.reads


def _total(of: Round, promote_at: int) -> float:
    run = of.runs[promote_at]
    return sum(run.seconds.values()) - run.seconds[BLIND] + _behind(of, promote_at)


def _push_predicted(found: Found, of: Round, promote_at: int) -> float:
    pushed = of.runs[promote_at].pushed
    batches = _batches(found)
    links = [batches.links(followers) for followers in pushed]
    small = links.count(0)  # each a round of its own
    work = Pushing(
        posts=len(pushed),
        small_posts=small,
        rounds=small,
        links=sum(links),
        follower_ids=sum(pushed),
    )
    return formulas.push_seconds(of.costs, work, found.inputs.materialised_share)


def _pull_predicted(found: Found, of: Round, promote_at: int) -> float:
    lines = Lines(promote_at, promote_at)
    inputs = replace(found.inputs, reads=of.runs[promote_at].reads)
    situation = Situation(inputs, of.costs, of.costs.share(0), WORKERS, _batches(found), lines)
    # Both processes learn of every new post, so that is not in the difference: no posts.
    return formulas.pull_seconds(of.costs, replace(situation.predict(lines).pulling, posts=0))


def _batches(found: Found) -> Batches:
    return Batches(batch=found.limits.fanout_batch, small=found.limits.fanout_slice)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.inf
