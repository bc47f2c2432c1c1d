"""A survey: aggregates of the real system, small enough for one row. Rates are per day. Pure."""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_right
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from feedsvc.store.redis import work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feedsvc.store.redis.work import Work

DAY_SECONDS = 86_400.0
# Standard errors in the half-width of a 95 % interval.
Z_95 = 1.96

# Two neighbouring thresholds differ by 19 %. The recommendation chooses among these thresholds. The
# prediction for any other threshold interpolates.
_POINTS_PER_OCTAVE = 4


def grid(largest: int) -> list[int]:
    """Return logarithmic thresholds from 1 to the first one above `largest` followers."""
    points = [1]
    power = 0
    while points[-1] <= largest:
        power += 1
        point = round(2 ** (power / _POINTS_PER_OCTAVE))
        if point > points[-1]:
            points.append(point)
    return points


@dataclass(kw_only=True)
class Cell:
    """Sums over accounts with similar followers (`low` ≤ followers < `high`) and posting rates.

    Only `authors.Cells` changes a cell, while it adds up accounts.
    """

    low: int
    high: int
    accounts: int = 0
    # Accounts that have ever posted, and accounts whose last route is pull. A post that load
    # shedding pulled does not change the last route.
    posted: int = 0
    pulled: int = 0
    followers: int = 0
    posts: float = 0.0
    # The sum of posts times followers.
    follower_ids: float = 0.0
    # The entries that their celebrity lists would hold together.
    entries: float = 0.0

    def share_from(self, followers: int) -> float:
        """Return the share of the accounts with at least this number of followers.

        The formula assumes that accounts are spread evenly over the logarithm of their followers.
        """
        if followers <= self.low:
            return 1.0
        if followers >= self.high:
            return 0.0
        return math.log(self.high / followers) / math.log(self.high / self.low)


@dataclass(frozen=True, kw_only=True)
class NamedAccount:
    """One account by id: large, talkative for its size, or pinned."""

    account_id: int
    follower_count: int
    posts: float
    # The entries that its celebrity list would hold; 0 if it has never posted.
    entries: float
    last_route: str | None
    pin: str | None

    def cell(self) -> Cell:
        """Return a cell of this account alone."""
        followers = self.follower_count
        return Cell(
            low=followers,
            high=followers + 1,
            accounts=1,
            posted=int(self.entries > 0),
            pulled=int(self.last_route == "pull"),
            followers=followers,
            posts=self.posts,
            follower_ids=self.posts * followers,
            entries=self.entries,
        )


@dataclass(frozen=True, kw_only=True)
class ListsAt:
    """Merged lists and home feeds if all accounts from `promote_at` followers on are pulled.

    Figures of reads are weighted by reads. Each margin is the half-width of a 95 % interval.
    """

    promote_at: int
    # Celebrity lists that a read merges.
    mean: float
    mean_margin: float
    p50: int
    p50_margin: float
    p99: int
    p99_margin: float
    largest: int
    # For each bucket of `work.bucket`: the share of reads that merge as many lists, and their mean
    # number of lists times that share.
    shares: list[float]
    parts: list[float]
    # The ids in an average home feed.
    feed_entries: float

    def mean_of(self, figure: Callable[[float], float]) -> float:
        """Return the mean over all reads of a figure of their numbers of lists.

        All reads of a bucket count with their mean number of lists.
        """
        return sum(
            share * figure(part / share)
            for share, part in zip(self.shares, self.parts, strict=True)
            if share
        )


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Everything that was found at one moment. Each margin is the half-width of a 95 % interval."""

    taken_at: dt.datetime
    # The time over which posts and reads were counted.
    window_seconds: float
    accounts: int
    largest: int
    posts: float
    reads: float
    reads_margin: float
    viewers_sampled: int
    # Home feeds that exist, and the share of follows whose follower has a home feed.
    materialised_feeds: float
    materialised_share: float
    materialised_margin: float
    # The processes that read feeds, and those that fan out, as counted in the last minutes.
    reading_processes: int
    working_processes: int
    # The processor time of the last day by kind and size of work.
    work: Work
    # Rates assumed, because too little was counted: "posts", "reads".
    assumed: list[str]
    # Cells hold all accounts below this number of followers, except pinned ones.
    complete_from: int
    cells: list[Cell]
    named: list[NamedAccount]
    # For each threshold of the grid, ascending.
    lists: list[ListsAt]

    def singles(self) -> Iterator[NamedAccount]:
        """Return the accounts that no cell includes."""
        return (
            named for named in self.named if named.pin or named.follower_count >= self.complete_from
        )

    def lists_at(self, promote_at: int) -> ListsAt:
        """Return the lists at a threshold, interpolated by its logarithm."""
        points = [each.promote_at for each in self.lists]
        after = bisect_right(points, promote_at)
        if after == len(points):
            return self.lists[-1]
        low, high = self.lists[after - 1], self.lists[after]
        part = math.log(promote_at / low.promote_at) / math.log(high.promote_at / low.promote_at)
        return interpolate(low, high, part)

    def to_json(self) -> dict[str, Any]:
        """Return the form that `from_json` reads."""
        data: dict[str, Any] = {**vars(self), "taken_at": self.taken_at.isoformat()}
        data["form"] = _FORM
        for name, kind in _ROWS.items():
            columns = [field.name for field in fields(kind)]
            data[name] = [[getattr(row, column) for column in columns] for row in data[name]]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Survey | None:
        """Read a stored survey; None if another release stored it in another form."""
        read = {**data}
        if read.pop("form", None) != _FORM:
            return None
        read["taken_at"] = dt.datetime.fromisoformat(read["taken_at"])
        read["work"] = work.from_json(read["work"])
        for name, kind in _ROWS.items():
            columns = [field.name for field in fields(kind)]
            read[name] = [kind(**dict(zip(columns, row, strict=True))) for row in data[name]]
        return cls(**read)


# The number of the form in which surveys are stored. Change it with the fields.
_FORM = 2
# The parts of a survey that are stored as rows without column names.
_ROWS: dict[str, type[Any]] = {"cells": Cell, "named": NamedAccount, "lists": ListsAt}


def interpolate(low: ListsAt, high: ListsAt, part: float) -> ListsAt:
    """Return the figures at a `part` of the way from `low` to `high`."""

    def between(one: float, other: float) -> float:
        return one + part * (other - one)

    values: dict[str, Any] = {
        name: list(map(between, first, getattr(high, name)))
        if isinstance(first, list)
        else between(first, getattr(high, name))
        for name, first in vars(low).items()
    }
    whole = {name: round(values[name]) for name in ("promote_at", "p50", "p99", "largest")}
    return ListsAt(**{**values, **whole})
