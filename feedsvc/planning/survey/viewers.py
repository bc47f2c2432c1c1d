"""What reads merge and feeds hold, for every threshold of the grid at once: one pass over the follows of a sample of viewers."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import sqlalchemy as sa

from feedsvc.planning.costs import PAGE_POSTS
from feedsvc.planning.survey.aggregates import ListsAt
from feedsvc.planning.survey.authors import pinned
from feedsvc.store.sql.tables import Account, Follow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from feedsvc.planning.survey.authors import Posting

_Number = TypeVar("_Number", int, float)

_CHUNK = 500
_Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Sample:
    """Viewers, and how much each counts: by its reads, or all alike."""

    weights: Mapping[int, float]

    def chunks(self) -> Iterator[list[int]]:
        """The viewers, some at a time."""
        viewers = list(self.weights)
        for first in range(0, len(viewers), _CHUNK):
            yield viewers[first : first + _CHUNK]


class _Seen(NamedTuple):
    """One viewer: by threshold, the lists that its read merges, what it looks at of them, and what its feed holds."""

    weight: float
    lists: list[int]
    entries: list[float]
    feed: list[float]


def lists_by_threshold(
    connection: Connection, points: Sequence[int], posting: Posting, sample: Sample
) -> list[ListsAt]:
    """For each threshold of the grid what reads would merge if all accounts from there on were pulled, pins apart."""
    pins = pinned(connection)
    seen: list[_Seen] = []
    for viewers in sample.chunks():
        tallies = {viewer: _Tally(points, posting, pins) for viewer in viewers}
        for viewer, followee, followers, route in _followed(connection, viewers):
            tallies[viewer].follow(followee, followers, route)
        seen += [tally.seen(sample.weights[viewer]) for viewer, tally in tallies.items()]
    return [_at(point, index, seen) for index, point in enumerate(points)]


def _followed(
    connection: Connection, viewers: list[int]
) -> Iterator[sa.Row[int, int, int, str | None]]:
    """Whom these viewers follow, themselves included: viewer, followee, its followers, its latest route."""
    about = (Account.id, Account.follower_count, Account.last_route)
    follows = sa.select(Follow.follower_id, *about).join(Account, Account.id == Follow.followee_id)
    yield from connection.execute(follows.where(Follow.follower_id.in_(viewers)))
    yield from connection.execute(
        sa.select(Account.id.label("viewer"), *about).where(Account.id.in_(viewers))
    )


class _Tally:
    """One viewer's followees by size; the last place is for those that are pulled under any threshold."""

    def __init__(self, points: Sequence[int], posting: Posting, pins: Mapping[int, str]) -> None:
        self._points, self._posting, self._pins = points, posting, pins
        self._lists = [0] * len(points)
        self._entries = [0.0] * len(points)
        self._rates = [0.0] * (len(points) + 1)

    def follow(self, followee: int, followers: int, route: str | None) -> None:
        rate = self._posting.rate(followee, followers)
        has_list = self._posting.has_list(followers, route)
        pin = self._pins.get(followee)
        size = bisect_right(self._points, followers) - 1
        if pin == "pull":
            size = len(self._points) - 1
        if has_list and pin != "push" and size >= 0:
            self._lists[size] += 1
            self._entries[size] += self._posting.entries(rate)
        if pin != "pull":
            # Pushed by every threshold above its size.
            self._rates[0 if pin == "push" else size + 1] += rate

    def seen(self, weight: float) -> _Seen:
        feed = [
            min(self._posting.cap, rate * self._posting.history_days)
            for rate in accumulate(self._rates[:-1])
        ]
        entries = [min(PAGE_POSTS, each) for each in _from_the_end(self._entries)]
        return _Seen(weight, _from_the_end(self._lists), entries, feed)


def _from_the_end(values: list[_Number]) -> list[_Number]:
    return list(accumulate(reversed(values)))[::-1]


def _at(point: int, index: int, seen: Sequence[_Seen]) -> ListsAt:
    total = sum(viewer.weight for viewer in seen) or 1.0
    lists = sorted((viewer.lists[index], viewer.weight) for viewer in seen)
    mean = sum(count * weight for count, weight in lists) / total
    # The variance of a ratio of sums (Cochran, Sampling Techniques, 1977, 6.3): viewers are the sample, reads their weights.
    variance = sum((weight * (count - mean)) ** 2 for count, weight in lists) / total**2
    effective = total**2 / (sum(weight**2 for _, weight in lists) or 1.0)
    p50, p50_margin = _percentile(lists, total, effective, 0.5)
    p99, p99_margin = _percentile(lists, total, effective, 0.99)
    return ListsAt(
        promote_at=point,
        mean=mean,
        mean_margin=_Z * math.sqrt(variance),
        p50=p50,
        p50_margin=p50_margin,
        p99=p99,
        p99_margin=p99_margin,
        largest=lists[-1][0] if lists else 0,
        merging=sum(weight for count, weight in lists if count) / total,
        entries=sum(viewer.weight * viewer.entries[index] for viewer in seen) / total,
        feed_entries=sum(viewer.feed[index] for viewer in seen) / (len(seen) or 1),
    )


def _percentile(
    lists: Sequence[tuple[int, float]], total: float, effective: float, share: float
) -> tuple[int, float]:
    """The value that a share of the weight reaches, and half the distance of the order statistics around it (Cochran, 1977, 3.5)."""
    half = _Z * math.sqrt(share * (1 - share) / effective) if effective else 0.0
    low, at, high = (
        _reached(lists, total * min(1.0, max(0.0, part)))
        for part in (share - half, share, share + half)
    )
    return at, (high - low) / 2


def _reached(lists: Sequence[tuple[int, float]], weight: float) -> int:
    reached = 0.0
    for count, each in lists:
        reached += each
        if reached >= weight:
            return count
    return lists[-1][0] if lists else 0
