"""Reads: each merges the celebrity lists, of whom it follows and its own, that hold anything at that moment. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from feedsvc.planning.costs import PAGE_POSTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.planning.replay.workload import Workload

# What a reader would merge is one number, lists in its low bits and their entries above, so that a change is one addition.
_LIST = 1
_ENTRY = 1 << 24
_REPORTED_READS = 100_000


class ListChange(NamedTuple):
    """A post goes onto its author's celebrity list (1), or off it (-1)."""

    seconds: float
    author: int
    posts: int


class MergedLists(NamedTuple):
    """What a read merges: lists, and what it looks at of them together."""

    lists: int
    entries: int


def merged_by_reads(
    crowd: FollowGraph,
    workload: Workload,
    listed: Sequence[int],
    changes: Iterable[ListChange],
    cap: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[MergedLists]:
    """How many reads merge how much.

    `listed`: how many posts each account has on its list before the first event; `changes` in the order of time. Of a list `cap`
    posts count at most, of all that a reader has those of a page, and cutting the oldest off never empties a list. `progress` gets
    how many more reads are done.
    """
    standing = _standing(crowd, listed, cap)
    found: Counter[int] = Counter()
    done = reported = 0
    for seconds, author, step in _steps(listed, changes, cap):
        upto = bisect_left(workload.read_seconds, seconds, done)
        found.update(map(standing.__getitem__, workload.readers[done:upto]))
        done = upto
        if done - reported >= _REPORTED_READS:
            progress(done - reported)
            reported = done
        _add(standing, crowd, author, step)
    found.update(map(standing.__getitem__, workload.readers[done:]))
    progress(len(workload.readers) - reported)
    # Reads whose lists hold more than a page differ in `found` and are alike here: add them up.
    merged: Counter[MergedLists] = Counter()
    for each, times in found.items():
        lists = MergedLists(lists=each % _ENTRY, entries=min(PAGE_POSTS, each // _ENTRY))
        merged[lists] += times
    return merged


def _standing(crowd: FollowGraph, listed: Sequence[int], cap: int) -> list[int]:
    """What each account would merge before the first event."""
    standing = [0] * len(crowd)
    for author, posts in enumerate(listed):
        if posts:
            _add(standing, crowd, author, _LIST + min(posts, cap) * _ENTRY)
    return standing


def _add(standing: list[int], crowd: FollowGraph, author: int, step: int) -> None:
    standing[author] += step
    for follower in crowd.followers(author):
        standing[follower] += step


def _steps(
    listed: Sequence[int], changes: Iterable[ListChange], cap: int
) -> Iterator[tuple[float, int, int]]:
    """When whose readers merge how much more, or less."""
    posts = list(listed)
    for seconds, author, change in changes:
        before = posts[author]
        after = posts[author] = before + change
        step = (min(after, cap) - min(before, cap)) * _ENTRY + ((after > 0) - (before > 0)) * _LIST
        if step:
            yield seconds, author, step
