"""The read path: each read merges the celebrity lists that hold a post at that moment. Pure.

A read merges lists of the accounts that the viewer follows, and the viewer's own list.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.planning.replay.workload import Workload

_PROGRESS_READS = 100_000


class ListChange(NamedTuple):
    """A post goes onto its author's celebrity list (1), or off it (-1)."""

    seconds: float
    author: int
    posts: int


def merged_by_reads(
    graph: FollowGraph,
    workload: Workload,
    listed: Sequence[int],
    changes: Iterable[ListChange],
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[int]:
    """Count the reads by the lists that they merge.

    `listed`: the posts on each account's list before the first event. `changes` are in the order of
    time. `progress` gets the number of reads done since its last call.
    """
    merged = [0] * len(graph)
    for author, posts in enumerate(listed):
        if posts:
            _add(merged, graph, author, 1)
    reads: Counter[int] = Counter()
    done = reported = 0
    for seconds, author, change in _list_changes(listed, changes):
        upto = bisect_left(workload.read_seconds, seconds, done)
        reads.update(map(merged.__getitem__, workload.viewers[done:upto]))
        done = upto
        if done - reported >= _PROGRESS_READS:
            progress(done - reported)
            reported = done
        _add(merged, graph, author, change)
    reads.update(map(merged.__getitem__, workload.viewers[done:]))
    progress(len(workload.viewers) - reported)
    return reads


def _add(merged: list[int], graph: FollowGraph, author: int, change: int) -> None:
    merged[author] += change
    for follower in graph.followers(author):
        merged[follower] += change


def _list_changes(
    listed: Sequence[int], changes: Iterable[ListChange]
) -> Iterator[tuple[float, int, int]]:
    """Yield when an author's list gets its first post (1), or loses its last one (-1)."""
    posts = list(listed)
    for seconds, author, change in changes:
        before = posts[author]
        posts[author] = before + change
        step = (posts[author] > 0) - (before > 0)
        if step:
            yield seconds, author, step
