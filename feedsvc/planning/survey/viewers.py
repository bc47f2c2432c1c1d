"""The viewers of a survey: merged lists and home feeds for every threshold of the grid at once.

One pass reads the follows of a sample of viewers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from feedsvc.formats import weighted_percentile
from feedsvc.planning.survey.aggregates import Z_95, ListsAt
from feedsvc.routing.next_route import pinned_routes
from feedsvc.store.redis.work import BUCKETS, bucket
from feedsvc.store.sql.tables import Account, Follow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from feedsvc.planning.survey.authors import Posting

_CHUNK = 500


class _ViewerTotals(NamedTuple):
    """One viewer's merged lists and home feed entries, for each threshold."""

    weight: float
    lists: list[int]
    feed: list[float]


def lists_by_threshold(
    connection: Connection,
    points: Sequence[int],
    posting: Posting,
    weights: Mapping[int, float],
) -> list[ListsAt]:
    """Return the lists for each threshold of the grid, with pins as they are.

    `weights`: the viewers of the sample, each with a weight in proportion to its reads.
    """
    pins = pinned_routes(connection)
    viewers = list(weights)
    totals: list[_ViewerTotals] = []
    for first in range(0, len(viewers), _CHUNK):
        chunk = viewers[first : first + _CHUNK]
        tallies = {viewer: _Tally(points, posting, pins) for viewer in chunk}
        for viewer, followee, followers, route in _followees(connection, chunk):
            tallies[viewer].add(followee, followers, route)
        totals += [tally.totals(weights[viewer]) for viewer, tally in tallies.items()]
    return [_lists_at(point, index, totals) for index, point in enumerate(points)]


def _followees(
    connection: Connection, viewers: list[int]
) -> Iterator[sa.Row[int, int, int, str | None]]:
    """Yield viewer, followee, its followers and its last route.

    Also yields a row for each viewer itself, because a home feed holds the viewer's own posts.
    """
    columns = (Account.id, Account.follower_count, Account.last_route)
    follows = sa.select(Follow.follower_id, *columns).join(
        Account, Account.id == Follow.followee_id
    )
    yield from connection.execute(follows.where(Follow.follower_id.in_(viewers)))
    yield from connection.execute(
        sa.select(Account.id.label("viewer"), *columns).where(Account.id.in_(viewers))
    )


class _Tally:
    """One viewer's followees by size."""

    def __init__(self, points: Sequence[int], posting: Posting, pins: Mapping[int, str]) -> None:
        self._points, self._posting, self._pins = points, posting, pins
        # `_lists[i]`: the followees with a list, for which point i is the highest threshold that
        # pulls them.
        self._lists = [0] * len(points)
        # `_rates[i]`: the posts per day of the followees for which point i is the lowest threshold
        # that pushes them. The last item is for followees that every threshold pulls.
        self._rates = [0.0] * (len(points) + 1)

    def add(self, followee: int, followers: int, route: str | None) -> None:
        rate = self._posting.rate(followee, followers)
        has_list = self._posting.has_list(followers, route)
        pin = self._pins.get(followee)
        size = bisect_right(self._points, followers) - 1
        if pin == "pull":
            size = len(self._points) - 1
        if has_list and pin != "push" and size >= 0:
            self._lists[size] += 1
        if pin != "pull":
            self._rates[0 if pin == "push" else size + 1] += rate

    def totals(self, weight: float) -> _ViewerTotals:
        feed = [
            min(self._posting.cap, rate * self._posting.history_days)
            for rate in accumulate(self._rates[:-1])
        ]
        return _ViewerTotals(weight, list(accumulate(reversed(self._lists)))[::-1], feed)


def _lists_at(point: int, index: int, viewers: Sequence[_ViewerTotals]) -> ListsAt:
    """Return the figures of one threshold, the point with this index in the grid.

    The margin of the mean is that of a ratio of sums, with viewers as the sample and reads as their
    weights (Cochran, *Sampling Techniques*, 1977, 6.3).
    """
    total = sum(viewer.weight for viewer in viewers) or 1.0
    lists = sorted((viewer.lists[index], viewer.weight) for viewer in viewers)
    mean = sum(count * weight for count, weight in lists) / total
    variance = sum((weight * (count - mean)) ** 2 for count, weight in lists) / total**2
    sample_size = total**2 / (sum(weight**2 for _, weight in lists) or 1.0)
    shares, parts = [0.0] * BUCKETS, [0.0] * BUCKETS
    for count, weight in lists:
        shares[bucket(count)] += weight
        parts[bucket(count)] += weight * count
    p50, p50_margin = _percentile(lists, total, sample_size, 0.5)
    p99, p99_margin = _percentile(lists, total, sample_size, 0.99)
    return ListsAt(
        promote_at=point,
        mean=mean,
        mean_margin=Z_95 * math.sqrt(variance),
        p50=p50,
        p50_margin=p50_margin,
        p99=p99,
        p99_margin=p99_margin,
        largest=lists[-1][0] if lists else 0,
        shares=[weight / total for weight in shares],
        parts=[part / total for part in parts],
        feed_entries=sum(viewer.feed[index] for viewer in viewers) / (len(viewers) or 1),
    )


def _percentile(
    lists: Sequence[tuple[int, float]], total: float, sample_size: float, share: float
) -> tuple[int, float]:
    """Return the value that a share of the weight does not exceed, and its margin.

    The margin is half the distance of the order statistics around it (Cochran, 1977, 3.5).
    """
    half = Z_95 * math.sqrt(share * (1 - share) / sample_size) if sample_size else 0.0
    low, at, high = (
        int(weighted_percentile(lists, total, 100 * min(1.0, max(0.0, part))) or 0)
        for part in (share - half, share, share + half)
    )
    return at, (high - low) / 2
