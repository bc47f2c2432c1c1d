"""Measured rounds of a graph under a mix, and the files that keep them. Pure except the files.

A measurement takes minutes, and a verdict on it milliseconds. So the rounds are kept, and a new
cost model is judged by them without another measurement.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from feedsvc.planning.costs import Batches
from feedsvc.planning.survey.aggregates import Survey
from feedsvc.store.redis import work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from feedsvc.store.redis.work import Work

# Kinds of reads: of an existing feed, the same read by a process that sees no celebrity list, and
# of a feed that has to be rebuilt first. `LEARN` is one process's look at the news of new posts.
READ, BLIND, REBUILD, LEARN = "read", "blind", "rebuild", "learn"
# One process reads. The process that sees no lists counts nothing, and stands for no process.
READING_PROCESSES = 1
# Pure pull and pure push, as thresholds.
PULL, PUSH = 1, 10**9


@dataclass(frozen=True)
class Run:
    """The operations of a run under a rule, and its processor seconds.

    `operations`, `seconds`: by kind. `behind`: processor seconds behind the uploads. `wall`: wall
    seconds. `by_lists`: for each number of merged lists, the reads that ran twice, their seconds,
    and their seconds without lists. `pushed`: the followers of each pushed post. `pulled`:
    the authors with a celebrity list at the beginning. `redis_bytes`: the memory of feeds and
    lists. `figures`: what the service itself counted, by field of its hash. `pace`: the mean
    seconds of `Speed`.
    """

    promote_at: int
    operations: Mapping[str, int]
    seconds: Mapping[str, float]
    behind: float
    wall: float
    by_lists: Mapping[int, tuple[int, float, float]]
    pushed: Sequence[int]
    pulled: int
    redis_bytes: int
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

    def work(self, pace: float) -> Work:
        """Return the work that the service counted, as on a machine with this pace."""
        factor = pace / self.pace
        return {
            kind: {
                bucket: tally._replace(us=round(tally.us * factor))
                for bucket, tally in tallies.items()
            }
            for kind, tallies in work.parse(self.figures).items()
        }

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
    """One round: the survey at its end, a run for each threshold, and one for the rule by rates.

    `idle`: the processor seconds per second of processes that wait for work.
    """

    survey: Survey
    idle: float
    runs: Mapping[int, Run]
    by_rates: Run | None = None

    def at_pace(self, pace: float) -> Round:
        """Return the same round as on a machine with this pace."""
        runs = {promote_at: run.at_pace(pace) for promote_at, run in self.runs.items()}
        return replace(self, runs=runs, by_rates=self.by_rates and self.by_rates.at_pace(pace))


@dataclass(frozen=True)
class Service:
    """What the model is told about the service, besides the survey.

    `reads_per_post`: the mix's. `batches`: the steps of fan-outs. `near_cache_bytes`: the size of
    the near cache of the one process that reads.
    """

    reads_per_post: float
    batches: Batches
    near_cache_bytes: int


@dataclass(frozen=True)
class Recording:
    """All rounds on one graph under one mix. `server`: the Redis that was measured."""

    graph: str
    mix: str
    service: Service
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

    def runs(self) -> Iterator[Run]:
        """Yield every run."""
        for each in self.rounds:
            yield from each.runs.values()
            if each.by_rates is not None:
                yield each.by_rates

    def at_pace(self, pace: float) -> Recording:
        """Return the same rounds as on a machine with this pace."""
        return replace(self, rounds=[each.at_pace(pace) for each in self.rounds])


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
            "idle": each.idle,
            "runs": [asdict(run) for run in each.runs.values()],
            "by_rates": each.by_rates and asdict(each.by_rates),
        }
        for each in recording.rounds
    ]
    return {**vars(recording), "service": asdict(recording.service), "rounds": rounds}


def _from_json(data: dict[str, Any]) -> Recording:
    rounds = [
        Round(
            Survey.from_json(each["survey"]),
            each["idle"],
            {run["promote_at"]: _run_from_json(run) for run in each["runs"]},
            each["by_rates"] and _run_from_json(each["by_rates"]),
        )
        for each in data["rounds"]
    ]
    service = data["service"]
    batches = Batches(**service["batches"])
    return Recording(
        **{**data, "service": Service(**{**service, "batches": batches}), "rounds": rounds}
    )


def _run_from_json(data: dict[str, Any]) -> Run:
    by_lists = {int(lists): tuple(each) for lists, each in data["by_lists"].items()}
    return Run(**{**data, "by_lists": by_lists})
