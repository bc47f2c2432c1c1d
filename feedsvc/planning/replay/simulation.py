"""Replay posts and reads, with some accounts pulled and all others pushed. Pure.

The figures of a replay are delivery lag, merged lists, and processor time.

Nothing is random here. The write path and the read path meet only in the celebrity lists. So all
pushes are simulated first. The result is the time at which each post leaves its author's list.
Reads are simulated afterwards, against lists that change over time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, cast

from feedsvc.formats import weighted_percentile
from feedsvc.planning import costs, near_cache
from feedsvc.planning.costs import Pulling
from feedsvc.planning.near_cache import CachedLists, Lists
from feedsvc.planning.replay.read_path import ListChange, merged_by_reads
from feedsvc.planning.replay.write_path import Deployment, Push, WritePath
from feedsvc.routing.policy import Route, Thresholds, decide, demote_at_in_ratio, governing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.planning.replay.workload import Workload


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

    `base` does not depend on the threshold.
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
    - `unfinished`: fan-outs under way when the last event happened. In a long replay, many of them
      show that the workers cannot keep up.
    - `deliveries`: pushes into feeds that exist. `skipped`: all other pushes.
    - `missed_lists_per_read`: lists that the near cache lacks.
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
    missed_lists_per_read: float
    read_seconds: Distribution
    processor_seconds: ReplaySeconds


def pulled_accounts(
    graph: FollowGraph, latest: Thresholds, settled: Thresholds, pins: Mapping[int, Route]
) -> bytearray:
    """Return an array of flags: item n is 1 if the posts of account number n are pulled, else 0.

    `latest` and `settled` are the two policy versions of a rollout, see `governing`. `pins` maps an
    account's id to its route.
    """
    lowest = min(latest.demote_at, settled.demote_at)
    pulled = bytearray(len(graph))
    for number, account in enumerate(graph.ids):
        followers = graph.follower_count(number)
        if followers >= lowest or account in pins:
            policy = governing(account, latest, settled)
            decision = decide(followers, graph.last_routes[number], policy, pins.get(account))
            pulled[number] = decision.route == "pull"
    return pulled


def thresholds_at(promote_at: int, today: Thresholds) -> Thresholds:
    """Return thresholds with this upper one, and a lower one in today's ratio to it."""
    demote_at = demote_at_in_ratio(promote_at, today.promote_at, today.demote_at)
    return Thresholds(today.version, promote_at, demote_at)


def simulate(
    graph: FollowGraph,
    workload: Workload,
    pulled: Sequence[int],
    deployment: Deployment,
    progress: Callable[[int], None] = lambda _: None,
) -> ReplayResult:
    """Replay a workload. `pulled` is 1 for each account that is pulled, by number.

    `progress` gets the number of events done since its last call.
    """
    pushes = list(_pushes(graph, workload, pulled))
    path = WritePath(deployment)
    path.run(pushes)
    progress(len(workload.post_seconds))
    listed = [
        posts if is_pulled else 0
        for posts, is_pulled in zip(workload.posts_before, pulled, strict=True)
    ]
    changes = _list_changes(workload, pushes, deployment.take_off_seconds)
    merged = merged_by_reads(graph, workload, listed, changes, progress)
    cached = _cached_lists(graph, workload, pulled, deployment)
    return _result(workload, pulled, path, pushes, _Reading(merged, cached))


def _pushes(graph: FollowGraph, workload: Workload, pulled: Sequence[int]) -> Iterator[Push]:
    with_feed: dict[int, int] = {}
    for seconds, author in zip(workload.post_seconds, workload.authors, strict=True):
        if pulled[author]:
            continue
        if author not in with_feed:
            with_feed[author] = sum(map(workload.has_feed.__getitem__, graph.followers(author)))
        yield Push(author, seconds, graph.follower_count(author), with_feed[author])


def _list_changes(
    workload: Workload, pushes: Sequence[Push], take_off_seconds: float
) -> list[ListChange]:
    """Return when posts go onto celebrity lists and off them, in the order of time.

    Posts of pulled accounts stay.
    """
    put = (
        ListChange(seconds, author, 1)
        for seconds, author in zip(workload.post_seconds, workload.authors, strict=True)
    )
    taken_off = (ListChange(push.done_at + take_off_seconds, push.author, -1) for push in pushes)
    return sorted(chain(put, taken_off))


def _result(
    workload: Workload,
    pulled: Sequence[int],
    path: WritePath,
    pushes: Sequence[Push],
    reading: _Reading,
) -> ReplayResult:
    """Return the figures of a finished replay."""
    unit_costs = path.deployment.costs
    deliveries = sum(push.with_feed for push in pushes)
    last_delivery = max((push.done_at for push in pushes), default=0.0)
    seconds = max(last_delivery, workload.end_seconds) - workload.start_seconds
    base = costs.base_seconds(unit_costs, posts=0, reads=1, processes=0)
    lists_per_read, read_seconds = Counter[float](), Counter[float]()
    for lists, times in reading.merged.items():
        lists_per_read[lists] += times
        read_seconds[base + costs.pull_seconds(unit_costs, reading.work(lists))] += times
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
        missed_lists_per_read=reading.missed_per_read,
        read_seconds=distribution(read_seconds),
        processor_seconds=_processor_seconds(workload, path, pushes, reading),
    )


def _cached_lists(
    graph: FollowGraph, workload: Workload, pulled: Sequence[int], deployment: Deployment
) -> CachedLists:
    """Return what each web process holds of the lists of pulled accounts that have posted."""
    posts = Counter(workload.authors)
    posts.update({number: before for number, before in enumerate(workload.posts_before) if before})
    lists = (
        Lists(1, min(deployment.cap, count), graph.follower_count(number))
        for number, count in posts.items()
        if pulled[number]
    )
    return near_cache.cached_lists(lists, deployment.near_cache_bytes)


@dataclass(frozen=True)
class _Reading:
    """The reads by the lists that they merge, and what a web process holds of the lists."""

    merged: Counter[int]
    cached: CachedLists

    @property
    def missed_per_read(self) -> float:
        """Return how many lists the mean read has to fetch."""
        lists = sum(lists * times for lists, times in self.merged.items())
        return lists * self.cached.missed_share / (self.merged.total() or 1)

    def work(self, lists: int) -> Pulling:
        """Return the pulling of one read."""
        cached, missed = self.cached.lists, self.cached.missed_share
        return Pulling(
            look_ups=float(cached > 0),
            merging_reads=float(lists > 0),
            list_units=costs.list_units(lists, cached),
            fetches=1 - (1 - missed) ** lists,
            fetched_lists=lists * missed,
        )


def _processor_seconds(
    workload: Workload, path: WritePath, pushes: Sequence[Push], reading: _Reading
) -> ReplaySeconds:
    posts, reads = len(workload.post_seconds), len(workload.read_seconds)
    pushing = costs.Pushing(
        posts=len(pushes),
        small_posts=path.small_posts,
        micro_batches=path.micro_batches,
        links=path.links,
        follower_ids=path.follower_ids,
    )
    deliveries = sum(push.with_feed for push in pushes)
    share = deliveries / path.follower_ids if path.follower_ids else 0.0
    unit_costs, processes = path.deployment.costs, path.deployment.readers
    push = costs.push_seconds(unit_costs, pushing, share)
    pull = sum(
        times * costs.pull_seconds(unit_costs, reading.work(lists))
        for lists, times in reading.merged.items()
    )
    base = costs.base_seconds(unit_costs, posts=posts, reads=reads, processes=processes)
    return ReplaySeconds(push=push, pull=pull, base=base, total=push + pull + base)
