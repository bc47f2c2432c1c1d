"""A replay: posts and reads simulated with some accounts pulled and all others pushed. Pure.

Nothing is random here. The write path and the read path meet only in the celebrity lists. So all
pushes are simulated first, which says when each post leaves its author's list. Reads are simulated
afterwards, against lists that change over time.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from feedsvc.planning.costs import PAGE_POSTS
from feedsvc.planning.replay.read_path import ListChange, merged_by_reads
from feedsvc.planning.replay.result import ReplayResult, result_of
from feedsvc.planning.replay.write_path import Deployment, Push, WritePath
from feedsvc.routing.policy import Route, Thresholds, decide, demote_at_in_ratio, governing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.planning.replay.workload import Workload


def pulled_accounts(
    graph: FollowGraph, latest: Thresholds, settled: Thresholds, pins: Mapping[int, Route]
) -> bytearray:
    """Return 1 for each account whose posts are pulled, by number.

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
    cap = min(deployment.cap, PAGE_POSTS)
    merged = merged_by_reads(graph, workload, listed, changes, cap, progress)
    return result_of(workload, pulled, path, pushes, merged)


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
