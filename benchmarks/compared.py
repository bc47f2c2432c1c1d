"""Compare the measured cost at each threshold with the cost model's prediction. Pure.

Push: the cost of uploads above their cost in the same round if all posts are pulled, and the work
behind them. Pull: the cost of reads above the same reads by a process that sees no celebrity list.
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
    """One round: calibrated unit costs, and a run for each threshold."""

    costs: UnitCosts
    runs: dict[int, Run]


@dataclass(frozen=True)
class GraphRounds:
    """All rounds on one graph."""

    inputs: Survey
    limits: Settings
    recommended: int
    rounds: Sequence[Round]
    server: str


@dataclass(frozen=True)
class Pair:
    """One figure, measured and predicted, by round."""

    measured: list[float]
    predicted: list[float]

    @property
    def error(self) -> float:
        """Return the prediction's relative error: the median of the rounds' ratios, less one."""
        return median(_ratio(*both) for both in zip(self.predicted, self.measured, strict=True)) - 1


@dataclass(frozen=True)
class Line:
    """The figures of one threshold; `total`: measured processor seconds, by round."""

    promote_at: int
    push: Pair
    pull: Pair
    lists: Pair
    total: list[float]


def with_reads_of_mix(inputs: Survey) -> Survey:
    """Return the survey with as many reads for each post as the mix has."""
    reads = inputs.posts * MIX["read"] / MIX["post"]
    return replace(inputs, reads=reads, reads_margin=0.0)


def compare(graph: GraphRounds) -> list[Line]:
    """Return the figures of every threshold that was run, by ascending threshold."""
    thresholds = {promote_at for one_round in graph.rounds for promote_at in one_round.runs}
    return [_line(graph, promote_at) for promote_at in sorted(thresholds)]


def _line(graph: GraphRounds, promote_at: int) -> Line:
    rounds = [one_round for one_round in graph.rounds if promote_at in one_round.runs]
    runs = [one_round.runs[promote_at] for one_round in rounds]
    return Line(
        promote_at,
        Pair(
            [_push(one_round, promote_at) for one_round in rounds],
            [_predict_push(graph, one_round, promote_at) for one_round in rounds],
        ),
        Pair(
            [_pull(run) for run in runs],
            [_predict_pull(graph, one_round, promote_at) for one_round in rounds],
        ),
        Pair(
            [run.lists / run.reads for run in runs],
            [graph.inputs.lists_at(promote_at).mean for _ in runs],
        ),
        [_total(one_round, promote_at) for one_round in rounds],
    )


def _push(one_round: Round, promote_at: int) -> float:
    run, pure_pull = one_round.runs[promote_at], one_round.runs[PULL]
    return run.seconds["post"] - pure_pull.seconds["post"] + _behind(one_round, promote_at)


def _behind(one_round: Round, promote_at: int) -> float:
    """Return the cost behind the uploads, without the cost of waiting processes.

    Pure pull gives the latter, because no work follows an upload there.
    """
    run, pure_pull = one_round.runs[promote_at], one_round.runs[PULL]
    return run.behind - pure_pull.behind * run.wall / pure_pull.wall


def _pull(run: Run) -> float:
    return (run.seconds[READ] - run.seconds[BLIND]) / max(1, run.operations[READ]) * run.reads


def _total(one_round: Round, promote_at: int) -> float:
    run = one_round.runs[promote_at]
    return sum(run.seconds.values()) - run.seconds[BLIND] + _behind(one_round, promote_at)


def _predict_push(graph: GraphRounds, one_round: Round, promote_at: int) -> float:
    pushed = one_round.runs[promote_at].pushed
    batches = _batches(graph)
    links = [batches.links(followers) for followers in pushed]
    small = links.count(0)  # each post is a micro-batch of its own
    work = Pushing(
        posts=len(pushed),
        small_posts=small,
        micro_batches=small,
        links=sum(links),
        follower_ids=sum(pushed),
    )
    return formulas.push_seconds(one_round.costs, work, graph.inputs.materialised_share)


def _predict_pull(graph: GraphRounds, one_round: Round, promote_at: int) -> float:
    lines, costs = Lines(promote_at, promote_at), one_round.costs
    inputs = replace(graph.inputs, reads=one_round.runs[promote_at].reads)
    situation = Situation(inputs, costs, costs.share(0), WORKERS, _batches(graph), lines)
    # Both processes apply the invalidation of every new post, so the difference has no posts.
    return formulas.pull_seconds(costs, replace(situation.predict(lines).pulling, posts=0))


def _batches(graph: GraphRounds) -> Batches:
    return Batches(batch=graph.limits.fanout_batch, small=graph.limits.fanout_slice)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.inf
