"""A replay: what posts and reads would have met, had these accounts been pulled and all others pushed. Pure; no chance in it.

The write path and the read path meet only in the celebrity lists. So the pushes are simulated first, which says when each post leaves
its author's list, and the reads after, against lists that come and go.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from feedsvc.planning.costs import PAGE_POSTS
from feedsvc.planning.replay.deployment import Push
from feedsvc.planning.replay.read_path import ListChange, merged_by_reads
from feedsvc.planning.replay.result import Run, outcome
from feedsvc.planning.replay.write_path import WritePath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from feedsvc.planning.replay.deployment import Deployment
    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.planning.replay.result import ReplayResult
    from feedsvc.planning.replay.workload import Workload


def simulate(
    crowd: FollowGraph,
    workload: Workload,
    pulled: Sequence[int],
    plant: Deployment,
    progress: Callable[[int], None] = lambda _: None,
) -> ReplayResult:
    """Replay the workload with these accounts pulled (1) or pushed (0); `progress` gets how many more events are done."""
    pushes = list(_pushes(crowd, workload, pulled))
    path = WritePath(plant)
    path.run(pushes)
    progress(len(workload.post_seconds))
    listed = [
        posts if is_pulled else 0
        for posts, is_pulled in zip(workload.posts_before, pulled, strict=True)
    ]
    changes = _changes(workload, pushes, plant.kept_seconds)
    merged = merged_by_reads(crowd, workload, listed, changes, min(plant.cap, PAGE_POSTS), progress)
    return outcome(Run(workload, pulled, path, pushes, merged))


def _pushes(crowd: FollowGraph, workload: Workload, pulled: Sequence[int]) -> Iterator[Push]:
    with_feed: dict[int, int] = {}
    for seconds, author in zip(workload.post_seconds, workload.authors, strict=True):
        if pulled[author]:
            continue
        if author not in with_feed:
            with_feed[author] = sum(map(workload.has_feed.__getitem__, crowd.followers(author)))
        yield Push(author, seconds, crowd.follower_count(author), with_feed[author])


def _changes(workload: Workload, pushes: Sequence[Push], kept_seconds: float) -> list[ListChange]:
    """Posts that go onto celebrity lists and off them, in the order of time; those of pulled accounts stay."""
    on = (
        ListChange(seconds, author, 1)
        for seconds, author in zip(workload.post_seconds, workload.authors, strict=True)
    )
    off = (ListChange(push.done_at + kept_seconds, push.author, -1) for push in pushes)
    return sorted(chain(on, off))
