"""Measured rounds of a graph under a mix, and the files that keep them. Pure except the files.

A measurement takes minutes, and a verdict on it milliseconds. So the rounds are kept, and a new
cost model is judged by them without another measurement.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from feedsvc.planning.costs import Batches, UnitCosts
from feedsvc.planning.survey.aggregates import Survey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Kinds of reads: of an existing feed, the same read by a process that sees no celebrity list, and
# of a feed that has to be rebuilt first. `LEARN` is one process's look at the news of new posts.
READ, BLIND, REBUILD, LEARN = "read", "blind", "rebuild", "learn"
# Pure pull and pure push, as thresholds.
PULL, PUSH = 1, 10**9


@dataclass(frozen=True)
class Run:
    """The operations of a run under a threshold, and its processor seconds.

    `operations`, `seconds`: by kind. `behind`: processor seconds behind the uploads. `wall`: wall
    seconds. `by_lists`: for each number of merged lists, the reads that ran twice, their seconds,
    and their seconds without lists. `pushed`: the followers of each pushed post. `figures`: what
    the service itself counted, by field of its hash. `pace`: the mean seconds of `Speed`.
    """

    promote_at: int
    operations: Mapping[str, int]
    seconds: Mapping[str, float]
    behind: float
    wall: float
    by_lists: Mapping[int, tuple[int, float, float]]
    pushed: Sequence[int]
    figures: Mapping[str, int]
    pace: float

    def at_pace(self, pace: float) -> Run:
        """Return the same run as on a machine with this pace."""
        factor = pace / self.pace
        return replace(
            self,
            seconds={kind: each * factor for kind, each in self.seconds.items()},
            behind=self.behind * factor,
            by_lists={
                lists: (reads, with_lists * factor, without * factor)
                for lists, (reads, with_lists, without) in self.by_lists.items()
            },
            pace=pace,
        )

    @property
    def reads(self) -> int:
        """Return the number of all reads, with those that rebuilt the feed first."""
        return self.operations[READ] + self.operations.get(REBUILD, 0)

    @property
    def lists_per_read(self) -> float:
        """Return the mean number of lists of the reads that ran twice."""
        reads = sum(reads for reads, _, _ in self.by_lists.values())
        return sum(lists * each[0] for lists, each in self.by_lists.items()) / max(1, reads)


@dataclass(frozen=True)
class Round:
    """One round: the survey at its end, calibrated unit costs, and a run for each threshold."""

    survey: Survey
    costs: UnitCosts
    runs: Mapping[int, Run]


@dataclass(frozen=True)
class Recording:
    """All rounds on one graph under one mix.

    `reads_per_post`: the mix's. `recommended`: the threshold that the service recommended after the
    first round. `batches`: the steps of fan-outs. `server`: the Redis that was measured.
    """

    graph: str
    mix: str
    reads_per_post: float
    recommended: int
    batches: Batches
    server: str
    settings: Mapping[str, Any]
    rounds: Sequence[Round]

    @property
    def name(self) -> str:
        """Return the graph and the mix."""
        return f"{self.graph} {self.mix}"

    @property
    def thresholds(self) -> list[int]:
        """Return the measured thresholds, ascending."""
        return sorted({promote_at for each in self.rounds for promote_at in each.runs})


def write(recording: Recording, folder: Path) -> Path:
    """Write a recording into a folder as `<graph>-<mix>.json`; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{recording.graph}-{recording.mix}.json"
    path.write_text(json.dumps(_to_json(recording)) + "\n")
    return path


def read_all(folder: Path) -> list[Recording]:
    """Return the recordings of a folder, by file name."""
    return [_from_json(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


def _to_json(recording: Recording) -> dict[str, Any]:
    rounds = [
        {
            "survey": each.survey.to_json(),
            "costs": vars(each.costs),
            "runs": [asdict(run) for run in each.runs.values()],
        }
        for each in recording.rounds
    ]
    return {**vars(recording), "batches": vars(recording.batches), "rounds": rounds}


def _from_json(data: dict[str, Any]) -> Recording:
    rounds = [
        Round(
            Survey.from_json(each["survey"]),
            UnitCosts(**each["costs"]),
            {run["promote_at"]: _run_from_json(run) for run in each["runs"]},
        )
        for each in data["rounds"]
    ]
    return Recording(**{**data, "batches": Batches(**data["batches"]), "rounds": rounds})


def _run_from_json(data: dict[str, Any]) -> Run:
    by_lists = {int(lists): tuple(each) for lists, each in data["by_lists"].items()}
    return Run(**{**data, "by_lists": by_lists})
