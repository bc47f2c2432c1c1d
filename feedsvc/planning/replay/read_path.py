"""The read path: each read merges the celebrity lists that hold a post at that moment. Pure.

A read merges lists of the accounts that the viewer follows, and the viewer's own list.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from feedsvc.planning.costs import PAGE_POSTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.planning.replay.workload import Workload

# Lists and entries that a viewer merges are one number, lists in its low bits and entries above.
# A change is one addition.
_LIST = 1
_ENTRY = 1 << 24
_PROGRESS_READS = 100_000


class ListChange(NamedTuple):
    """A post goes onto its author's celebrity list (1), or off it (-1)."""

    seconds: float
    author: int
    posts: int


class MergedLists(NamedTuple):
    """The lists that a read merges, and the entries that it takes from all of them together."""

    lists: int
    entries: int


def merged_by_reads(
    graph: FollowGraph,
    workload: Workload,
    listed: Sequence[int],
    changes: Iterable[ListChange],
    cap: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[MergedLists]:
    """Count the reads by the lists and entries that they merge.

    `listed`: the posts on each account's list before the first event. `changes` are in the order of
    time. At most `cap` posts of a list count, and at most a page of entries for a read. `progress`
    gets the number of reads done since its last call.
    """
    merged = [0] * len(graph)
    for author, posts in enumerate(listed):
        if posts:
            _add(merged, graph, author, _LIST + min(posts, cap) * _ENTRY)
    reads: Counter[int] = Counter()
    done = reported = 0
    for seconds, author, change in _follower_changes(listed, changes, cap):
        upto = bisect_left(workload.read_seconds, seconds, done)
        reads.update(map(merged.__getitem__, workload.viewers[done:upto]))
        done = upto
        if done - reported >= _PROGRESS_READS:
            progress(done - reported)
            reported = done
        _add(merged, graph, author, change)
    reads.update(map(merged.__getitem__, workload.viewers[done:]))
    progress(len(workload.viewers) - reported)
    # Several numbers become one key, because a page bounds the entries: add their reads up.
    counts: Counter[MergedLists] = Counter()
    for number, times in reads.items():
        counts[MergedLists(number % _ENTRY, min(PAGE_POSTS, number // _ENTRY))] += times
    return counts


def _add(merged: list[int], graph: FollowGraph, author: int, change: int) -> None:
    merged[author] += change
    for follower in graph.followers(author):
        merged[follower] += change


def _follower_changes(
    listed: Sequence[int], changes: Iterable[ListChange], cap: int
) -> Iterator[tuple[float, int, int]]:
    """Yield when the merged lists and entries of an author's followers change, and by how much.

    A list holds at most `cap` of its author's posts. So changes beyond `cap` posts have no effect.
    """
    posts = list(listed)
    for seconds, author, change in changes:
        before = posts[author]
        after = posts[author] = before + change
        step = (min(after, cap) - min(before, cap)) * _ENTRY + ((after > 0) - (before > 0)) * _LIST
        if step:
            yield seconds, author, step
