"""Compare the measured cost at each threshold with the cost model's prediction. Pure.

Push: the cost of uploads above their cost in the same round if all posts are pulled, and the work
behind them. Pull: the cost of reads above the same reads by a process that sees no celebrity list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.recording import BLIND, PULL, READ
from benchmarks.service import WORKERS
from feedsvc.planning import costs as formulas
from feedsvc.planning.costs import Pushing
from feedsvc.planning.model import Group, Lines, Processes, Situation

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.recording import Recording, Round, Run
    from feedsvc.planning.costs import UnitCosts
    from feedsvc.planning.model import Prediction
    from feedsvc.planning.survey.aggregates import Survey

    # The unit costs with which the runs of a round are predicted.
    Costs = Callable[[Round], UnitCosts]

# A part below this share of the threshold's costs is not judged, because the noise of the other
# costs is as large. Lists are judged from this many per read on.
_JUDGED_SHARE = 0.1
_JUDGED_LISTS = 0.1


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

    def judged(self) -> dict[str, Pair]:
        """Return the figures by name, without those that are too small to be judged."""
        push, pull = median(self.push.measured), median(self.pull.measured)
        least = max(_JUDGED_SHARE * (push + pull), math.ulp(0.0))
        found = {"push": push >= least, "pull": pull >= least}
        found["lists"] = median(self.lists.measured) >= _JUDGED_LISTS
        return {name: getattr(self, name) for name, is_judged in found.items() if is_judged}


def compare(recording: Recording, costs: Costs) -> list[Line]:
    """Return the figures of every measured threshold, ascending."""
    return [_line(recording, promote_at, costs) for promote_at in recording.thresholds]


def recommended(recording: Recording, costs: Costs) -> int:
    """Return the measured threshold of least predicted cost, by the last round's survey."""
    last = recording.rounds[-1]
    survey = with_reads(last.survey, last.survey.posts * recording.reads_per_post)

    def predicted(promote_at: int) -> float:
        return _predict(recording, survey, costs(last), promote_at).total_seconds.value

    return min(recording.thresholds, key=predicted)


def with_reads(survey: Survey, reads: float) -> Survey:
    """Return the survey with another number of reads."""
    return replace(survey, reads=reads, reads_margin=0.0)


def _line(recording: Recording, promote_at: int, costs: Costs) -> Line:
    rounds = [each for each in recording.rounds if promote_at in each.runs]
    runs = [each.runs[promote_at] for each in rounds]
    return Line(
        promote_at,
        Pair(
            [_push(each, promote_at) for each in rounds],
            [_predict_push(recording, each, costs(each), promote_at) for each in rounds],
        ),
        Pair(
            [_pull(run) for run in runs],
            [_predict_pull(recording, each, costs(each), promote_at) for each in rounds],
        ),
        Pair(
            [run.lists_per_read for run in runs],
            [each.survey.lists_at(promote_at).mean for each in rounds],
        ),
        [_total(each, promote_at) for each in rounds],
    )


def _push(of: Round, promote_at: int) -> float:
    run, pure_pull = of.runs[promote_at], of.runs[PULL]
    return run.seconds["post"] - pure_pull.seconds["post"] + _behind(of, promote_at)


def _behind(of: Round, promote_at: int) -> float:
    """Return the cost behind the uploads, without the cost of waiting processes.

    Pure pull gives the latter, because no work follows an upload there.
    """
    run, pure_pull = of.runs[promote_at], of.runs[PULL]
    return run.behind - pure_pull.behind * run.wall / pure_pull.wall


def _pull(run: Run) -> float:
    return (run.seconds[READ] - run.seconds[BLIND]) / max(1, run.operations[READ]) * run.reads


def _total(of: Round, promote_at: int) -> float:
    run = of.runs[promote_at]
    return sum(run.seconds.values()) - run.seconds[BLIND] + _behind(of, promote_at)


def _predict_push(recording: Recording, of: Round, costs: UnitCosts, promote_at: int) -> float:
    pushed = of.runs[promote_at].pushed
    links = [recording.batches.links(followers) for followers in pushed]
    small = links.count(0)  # each post is a micro-batch of its own
    work = Pushing(
        posts=len(pushed),
        small_posts=small,
        micro_batches=small,
        links=sum(links),
        follower_ids=sum(pushed),
    )
    return formulas.push_seconds(costs, work, of.survey.materialised_share)


def _predict_pull(recording: Recording, of: Round, costs: UnitCosts, promote_at: int) -> float:
    survey = with_reads(of.survey, of.runs[promote_at].reads)
    return formulas.pull_seconds(costs, _predict(recording, survey, costs, promote_at).pulling)


def _predict(recording: Recording, survey: Survey, costs: UnitCosts, promote_at: int) -> Prediction:
    lines = Lines(promote_at, promote_at)
    processes = Processes(WORKERS, 1, 64 << 20)
    situation = _AsMeasured(survey, costs, costs.share(0), processes, recording.batches, lines)
    return situation.predict(lines)


class _AsMeasured(Situation):
    """A situation in which every small post is a micro-batch of its own, as in a run.

    In a run no read finds that the list of a pushed author is empty again (see `sweep`).
    """

    posts_per_micro_batch = 1.0

    def empty_fetches(self, group: Group) -> float:
        """Return 0."""
        return 0.0 * group.cell.posts


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.inf
