"""The figures of a replay: delivery lag, merged lists, and processor time. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from feedsvc.formats import weighted_percentile
from feedsvc.planning import costs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feedsvc.planning.costs import UnitCosts
    from feedsvc.planning.replay.read_path import MergedLists
    from feedsvc.planning.replay.workload import Workload
    from feedsvc.planning.replay.write_path import Push, WritePath


@dataclass(frozen=True)
class Distribution:
    """Mean and percentiles (nearest rank); all are 0 without values."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


def distribution(counts: Mapping[float, int]) -> Distribution:
    """Return the distribution of values. `counts` maps a value to how often it occurred."""
    if not counts:
        return Distribution(0, 0.0, 0, 0, 0, 0)
    ascending = sorted(counts.items())
    count = sum(counts.values())
    p50, p90, p99 = (
        cast("float", weighted_percentile(ascending, count, per_cent)) for per_cent in (50, 90, 99)
    )
    total = sum(value * times for value, times in ascending)
    return Distribution(count, total / count, p50, p90, p99, ascending[-1][0])


@dataclass(frozen=True, kw_only=True)
class ReplaySeconds:
    """Processor time of all parts together for the whole workload.

    `base` is the part that every threshold costs.
    """

    push: float
    pull: float
    base: float
    total: float


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """The figures of a replay. Times are in seconds.

    - `seconds_to_last_follower`: of pushed posts. A pulled post is visible at once.
    - `wait_seconds`: of links and micro-batches, for a worker.
    - `unfinished`: fan-outs under way when the last event happened. In the long run they are few,
      unless the workers cannot keep up.
    - `deliveries`: pushes into feeds that exist. `skipped`: all other pushes.
    - `read_seconds`: processor time of one read.
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


def result_of(
    workload: Workload,
    pulled: Sequence[int],
    path: WritePath,
    pushes: Sequence[Push],
    merged: Counter[MergedLists],
) -> ReplayResult:
    """Return the figures of a finished replay. `merged` counts reads by the lists they merged."""
    unit_costs = path.deployment.costs
    deliveries = sum(push.with_feed for push in pushes)
    last_delivery = max((push.done_at for push in pushes), default=0.0)
    seconds = max(last_delivery, workload.end_seconds) - workload.start_seconds
    tenfolds = costs.tenfolds(_celebrity_lists(workload, pulled))
    lists_per_read, read_seconds = Counter[float](), Counter[float]()
    for each, times in merged.items():
        lists_per_read[each.lists] += times
        read_seconds[_read_seconds(unit_costs, each, tenfolds)] += times
    return ReplayResult(
        posts=len(workload.post_seconds),
        reads=len(workload.read_seconds),
        pushed_posts=len(pushes),
        pulled_accounts=sum(pulled),
        pulled_share=sum(pulled) / len(pulled),
        deliveries=deliveries,
        skipped=path.follower_ids - deliveries,
        links=path.links,
        seconds_to_last_follower=distribution(
            Counter(push.done_at - push.posted_at for push in pushes)
        ),
        wait_seconds=distribution(Counter(path.waits)),
        workers_busy=path.busy_seconds / (path.deployment.workers * seconds) if seconds else 0.0,
        unfinished=sum(push.done_at > workload.end_seconds for push in pushes),
        lists_per_read=distribution(lists_per_read),
        read_seconds=distribution(read_seconds),
        processor_seconds=_processor_seconds(workload, path, pushes, merged, tenfolds),
    )


def _celebrity_lists(workload: Workload, pulled: Sequence[int]) -> int:
    """Count the lists of pulled accounts at the end, which every web process caches."""
    authors = set(workload.authors)
    return sum(
        bool(is_pulled) and (posts > 0 or number in authors)
        for number, (is_pulled, posts) in enumerate(zip(pulled, workload.posts_before, strict=True))
    )


def _read_seconds(unit_costs: UnitCosts, merged: MergedLists, tenfolds: float) -> float:
    pulling = costs.Pulling(
        look_ups=tenfolds,
        merging_reads=merged.lists > 0,
        lists=merged.lists,
        tenfolds=merged.lists * tenfolds,
        entries=merged.entries,
    )
    base = costs.base_seconds(unit_costs, posts=0, reads=1)
    return base + costs.pull_seconds(unit_costs, pulling)


def _processor_seconds(
    workload: Workload,
    path: WritePath,
    pushes: Sequence[Push],
    merged: Counter[MergedLists],
    tenfolds: float,
) -> ReplaySeconds:
    posts, reads = len(workload.post_seconds), len(workload.read_seconds)
    pushing = costs.Pushing(
        posts=len(pushes),
        small_posts=path.small_posts,
        micro_batches=path.micro_batches,
        links=path.links,
        follower_ids=path.follower_ids,
    )
    lists = sum(each.lists * times for each, times in merged.items())
    pulling = costs.Pulling(
        look_ups=reads * tenfolds,
        merging_reads=sum(times for each, times in merged.items() if each.lists),
        lists=lists,
        tenfolds=lists * tenfolds,
        entries=sum(each.entries * times for each, times in merged.items()),
        posts=posts - len(pushes),
    )
    deliveries = sum(push.with_feed for push in pushes)
    share = deliveries / path.follower_ids if path.follower_ids else 0.0
    unit_costs = path.deployment.costs
    push = costs.push_seconds(unit_costs, pushing, share)
    pull = costs.pull_seconds(unit_costs, pulling)
    base = costs.base_seconds(unit_costs, posts=posts, reads=reads)
    return ReplaySeconds(push=push, pull=pull, base=base, total=push + pull + base)
