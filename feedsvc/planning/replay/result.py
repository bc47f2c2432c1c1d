"""What came of a replay: distributions of lag and of reads, and the processor time by the formulas of the cost model. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from feedsvc.planning import costs
from feedsvc.planning.replay import distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feedsvc.planning.costs import UnitCosts
    from feedsvc.planning.replay.deployment import Push
    from feedsvc.planning.replay.distribution import Distribution
    from feedsvc.planning.replay.read_path import MergedLists
    from feedsvc.planning.replay.workload import Workload
    from feedsvc.planning.replay.write_path import WritePath

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, kw_only=True)
class ReplaySeconds:
    """Of all parts together, for the whole workload: pushing, pulling, and what any threshold costs."""

    push: float
    pull: float
    base: float
    total: float


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What came of a replay. Times are in seconds.

    `seconds_to_last_follower`: of pushed posts; a pulled one is there at once. `wait_seconds`: of links and rounds, for a worker.
    `unfinished`: fan-outs under way when the last event happened; in the long run few, unless workers cannot keep up. `deliveries`:
    pushes into feeds that exist; `skipped`: the others. `read_seconds`: processor time of one read.
    """

    posts: int
    reads: int
    pushed_posts: int
    pulled_accounts: int
    pulled_share: float
    deliveries: int
    skipped: int
    links: int
    seconds_to_last_follower: Distribution
    wait_seconds: Distribution
    workers_busy: float
    unfinished: int
    lists_per_read: Distribution
    read_seconds: Distribution
    processor_seconds: ReplaySeconds


@dataclass(frozen=True)
class Run:
    """A replay at its end. `merged`: what reads merged -> how many reads did."""

    workload: Workload
    pulled: Sequence[int]
    path: WritePath
    pushes: Sequence[Push]
    merged: Counter[MergedLists]

    @property
    def deliveries(self) -> int:
        """Pushes into feeds that exist."""
        return sum(push.with_feed for push in self.pushes)

    @property
    def seconds(self) -> float:
        """From the first event to the last one, or to the last delivery."""
        last = max((push.done_at for push in self.pushes), default=0.0)
        return max(last, self.workload.end_seconds) - self.workload.start_seconds

    @cached_property
    def lists_held(self) -> int:
        """Celebrity lists at the end, of pulled accounts."""
        authors = set(self.workload.authors)
        posted = (
            number in authors or before > 0
            for number, before in enumerate(self.workload.posts_before)
        )
        return sum(
            is_pulled and has_posted
            for is_pulled, has_posted in zip(self.pulled, posted, strict=True)
        )

    @property
    def pushing(self) -> costs.Pushing:
        """The pushing."""
        path = self.path
        return costs.Pushing(
            posts=len(self.pushes),
            small_posts=path.small_posts,
            rounds=path.rounds,
            links=path.links,
            follower_ids=path.follower_ids,
        )

    @property
    def pulling(self) -> costs.Pulling:
        """The pulling."""
        lists = sum(each.lists * times for each, times in self.merged.items())
        return costs.Pulling(
            look_ups=len(self.workload.read_seconds) * costs.tenfolds(self.lists_held),
            merging_reads=sum(times for each, times in self.merged.items() if each.lists),
            lists=lists,
            tenfolds=lists * costs.tenfolds(self.lists_held),
            entries=sum(each.entries * times for each, times in self.merged.items()),
            posts=len(self.workload.post_seconds) - len(self.pushes),
        )


def outcome(run: Run) -> ReplayResult:
    """The figures of a replay."""
    workload, path, unit = run.workload, run.path, run.path.plant.costs
    return ReplayResult(
        posts=len(workload.post_seconds),
        reads=len(workload.read_seconds),
        pushed_posts=len(run.pushes),
        pulled_accounts=sum(run.pulled),
        pulled_share=sum(run.pulled) / len(run.pulled),
        deliveries=run.deliveries,
        skipped=path.follower_ids - run.deliveries,
        links=path.links,
        seconds_to_last_follower=distribution.of_values(
            [push.done_at - push.posted_at for push in run.pushes]
        ),
        wait_seconds=distribution.of_values(path.waits),
        workers_busy=path.busy_seconds / (path.plant.workers * run.seconds) if run.seconds else 0.0,
        unfinished=sum(push.done_at > workload.end_seconds for push in run.pushes),
        lists_per_read=distribution.of_counts(_counted(run.merged, lambda each: each.lists)),
        read_seconds=distribution.of_counts(
            _counted(run.merged, partial(_read_seconds, unit, run.lists_held))
        ),
        processor_seconds=_processor_seconds(run, unit),
    )


def _counted(
    merged: Counter[MergedLists], figure: Callable[[MergedLists], _Number]
) -> Counter[_Number]:
    """How many reads had which figure."""
    found: Counter[_Number] = Counter()
    for each, times in merged.items():
        found[figure(each)] += times
    return found


def _read_seconds(unit: UnitCosts, held: int, merged: MergedLists) -> float:
    lists = costs.Pulling(
        look_ups=costs.tenfolds(held),
        merging_reads=merged.lists > 0,
        lists=merged.lists,
        tenfolds=merged.lists * costs.tenfolds(held),
        entries=merged.entries,
    )
    return costs.base_seconds(unit, posts=0, reads=1) + costs.pull_seconds(unit, lists)


def _processor_seconds(run: Run, unit: UnitCosts) -> ReplaySeconds:
    share = run.deliveries / run.path.follower_ids if run.path.follower_ids else 0.0
    push = costs.push_seconds(unit, run.pushing, share)
    pull = costs.pull_seconds(unit, run.pulling)
    base = costs.base_seconds(
        unit, posts=len(run.workload.post_seconds), reads=len(run.workload.read_seconds)
    )
    return ReplaySeconds(push=push, pull=pull, base=base, total=push + pull + base)
