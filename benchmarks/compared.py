"""Compare the measured cost at each threshold with the cost model's prediction. Pure.

Push: the cost of uploads and of the work behind them, above the same cost in the same round under
pure pull. Pull: the cost of reads above the same reads by a process that sees no celebrity list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.recording import BLIND, PULL, PUSH, READ, READING_PROCESSES
from benchmarks.service import WORKERS
from feedsvc.planning import costs as formulas
from feedsvc.planning.costs import Pushing
from feedsvc.planning.prediction import Prediction
from feedsvc.planning.situation import Group, Lines, Processes, Situation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.recording import Recording, Round, Run, Service
    from feedsvc.planning.costs import UnitCosts
    from feedsvc.planning.survey.aggregates import Survey

# A part below this share of the threshold's costs is not judged, because the noise of the other
# costs is as large. The push of fewer posts is not judged either: it is the difference of two runs,
# and the use of waiting processes varies as much. Lists are judged from this many per read on.
_JUDGED_SHARE = 0.1
_JUDGED_POSTS = 20
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
    """The figures of one threshold; `total`: measured processor seconds, by round.

    `posts`: how many posts it pushes in a run, and pure pull does not.
    """

    promote_at: int
    posts: float
    push: Pair
    pull: Pair
    lists: Pair
    total: list[float]

    def judged(self) -> dict[str, Pair]:
        """Return the figures by name, without those that are too small to be judged."""
        push, pull = median(self.push.measured), median(self.pull.measured)
        least = max(_JUDGED_SHARE * (push + pull), math.ulp(0.0))
        found = {"push": push >= least and self.posts >= _JUDGED_POSTS, "pull": pull >= least}
        found["lists"] = median(self.lists.measured) >= _JUDGED_LISTS
        return {name: getattr(self, name) for name, is_judged in found.items() if is_judged}


def compare(recording: Recording, costs: UnitCosts) -> list[Line]:
    """Return the figures of every measured threshold, ascending."""
    return [_line(recording, promote_at, costs) for promote_at in recording.thresholds]


def recommended(recording: Recording, costs: UnitCosts) -> int:
    """Return the measured threshold of least predicted cost, by the last round's survey."""
    at = situation(recording.service, recording.rounds[-1].survey, costs)
    return cheapest(at, recording.thresholds)


def cheapest(at: Situation, thresholds: Iterable[int]) -> int:
    """Return the threshold of least predicted cost."""

    def predicted(promote_at: int) -> float:
        return Prediction(at, Lines(promote_at, promote_at)).total_seconds.value

    return min(thresholds, key=predicted)


def situation(service: Service, survey: Survey, costs: UnitCosts) -> Situation:
    """Return what the model is told about the service that is measured.

    The survey gets as many reads for each post as the mix has.
    """
    return _situation(service, with_reads(survey, survey.posts * service.reads_per_post), costs)


def with_reads(survey: Survey, reads: float) -> Survey:
    """Return the survey with another number of reads."""
    return replace(survey, reads=reads, reads_margin=0.0)


def _line(recording: Recording, promote_at: int, costs: UnitCosts) -> Line:
    rounds = [each for each in recording.rounds if promote_at in each.runs]
    runs = [each.runs[promote_at] for each in rounds]
    return Line(
        promote_at,
        median(len(each.runs[promote_at].pushed) - len(each.runs[PULL].pushed) for each in rounds),
        Pair(
            [_push(each, each.runs[promote_at]) for each in rounds],
            [_predict_push(recording.service, each, costs, promote_at) for each in rounds],
        ),
        Pair(
            [_pull(run) for run in runs],
            [_predict_pull(recording.service, each, costs, promote_at) for each in rounds],
        ),
        Pair(
            [run.lists_per_read for run in runs],
            [each.survey.lists_at(promote_at).mean for each in rounds],
        ),
        [total(each, each.runs[promote_at]) for each in rounds],
    )


def _push(of: Round, run: Run) -> float:
    """Return the cost of uploads and of the work behind them, above that under pure pull.

    Under pure pull the posts of accounts without followers are pushed, to nobody.
    """
    return _posting(of, run) - _posting(of, of.runs[PULL])


def _posting(of: Round, run: Run) -> float:
    return run.seconds["post"] + _behind(of, run)


def _behind(of: Round, run: Run) -> float:
    """Return the cost behind the uploads, without the cost of waiting processes."""
    return run.behind - of.idle * run.wall


def _pull(run: Run) -> float:
    return (run.seconds[READ] - run.seconds[BLIND]) / max(1, run.operations[READ]) * run.reads


def total(of: Round, run: Run) -> float:
    """Return the processor seconds of everything in a run of a round."""
    return sum(run.seconds.values()) - run.seconds[BLIND] + _behind(of, run)


def _predict_push(service: Service, of: Round, costs: UnitCosts, promote_at: int) -> float:
    of_run, of_pure_pull = (
        formulas.push_seconds(
            costs, _pushing(service, of.runs[at].pushed), of.survey.materialised_share
        )
        for at in (promote_at, PULL)
    )
    return of_run - of_pure_pull


def _pushing(service: Service, pushed: Sequence[int]) -> Pushing:
    """Return the work of pushing posts one by one; `pushed`: the followers of each."""
    links = [service.batches.links(followers) for followers in pushed]
    small = links.count(0)
    return Pushing(
        posts=len(pushed),
        small_posts=small,
        micro_batches=small,
        links=sum(links),
        follower_ids=sum(pushed),
    )


def _predict_pull(service: Service, of: Round, costs: UnitCosts, promote_at: int) -> float:
    at = _situation(service, with_reads(of.survey, of.runs[promote_at].reads), costs)
    return formulas.pull_seconds(costs, Prediction(at, Lines(promote_at, promote_at)).pulling)


def _situation(service: Service, survey: Survey, costs: UnitCosts) -> Situation:
    processes = Processes(
        working=WORKERS, reading=READING_PROCESSES, near_cache_bytes=service.near_cache_bytes
    )
    margins = costs.share(0)
    return _AsMeasured(survey, costs, margins, processes, service.batches, Lines(PUSH, PUSH))


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
