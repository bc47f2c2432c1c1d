"""What the cost model is fed with: aggregates of the real system, small enough to be kept as one row. Pure.

`feedsvc.measuring` takes them. Rates are per day.
"""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_right
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


DAY_SECONDS = 86_400.0

# Four points an octave: two neighbours differ by less than what a follower threshold is worth knowing to.
_POINTS_AN_OCTAVE = 4


def grid(largest: int) -> list[int]:
    """Thresholds, logarithmic, from 1 to the first that no account of up to `largest` followers reaches."""
    points = [1]
    power = 0
    while points[-1] <= largest:
        power += 1
        point = round(2 ** (power / _POINTS_AN_OCTAVE))
        if point > points[-1]:
            points.append(point)
    return points


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Accounts of about as many followers (`low` ≤ followers < `high`) that post about as often, added up."""

    low: int
    high: int
    accounts: int
    # How many have ever posted, and the latest post of how many was pulled.
    posted: int
    pulled: int
    followers: int
    posts: float
    # The sum of posts times followers.
    follower_ids: float
    # What their celebrity lists would hold together.
    entries: float

    def share_from(self, followers: int) -> float:
        """The share of these accounts with at least so many followers; in between, as if spread evenly by logarithm."""
        if followers <= self.low:
            return 1.0
        if followers >= self.high:
            return 0.0
        return math.log(self.high / followers) / math.log(self.high / self.low)


@dataclass(frozen=True, kw_only=True)
class NamedAccount:
    """One account by name: among the largest, or the largest or most talkative of its size, or pinned."""

    account_id: int
    follower_count: int
    posts: float
    # Its list would hold so many entries; 0 if it has never posted.
    entries: float
    last_route: str | None
    pin: str | None

    def cell(self) -> Cell:
        """The account as a cell of its own."""
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
    """What a read merges, and a feed holds, if every account from `promote_at` followers on is pulled. Weighted by reads."""

    promote_at: int
    # Lists a read merges, and the 95 % half-width of the mean.
    mean: float
    mean_margin: float
    p50: int
    p50_margin: float
    p99: int
    p99_margin: float
    largest: int
    # The share of reads that merge any list; the entries that it looks at, of all its lists together.
    merging: float
    entries: float
    # The ids that a home feed holds, on average.
    feed_entries: float


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Everything that was found out about the system at one moment."""

    taken_at: dt.datetime
    # Over which time posts and reads were counted.
    window_seconds: float
    accounts: int
    largest: int
    posts: float
    reads: float
    reads_margin: float
    viewers_sampled: int
    # Feeds that exist; the share of follows whose follower has one, with its 95 % half-width.
    materialised_feeds: float
    materialised_share: float
    materialised_margin: float
    # What was too little to be measured, and is assumed instead: "posts", "reads".
    assumed: list[str]
    # All accounts but those named as having `complete_from` followers or more, or as pinned.
    complete_from: int
    cells: list[Cell]
    named: list[NamedAccount]
    # By threshold, ascending: the whole grid.
    lists: list[ListsAt]

    def singles(self) -> Iterator[NamedAccount]:
        """The accounts that are in no cell."""
        return (
            named for named in self.named if named.pin or named.follower_count >= self.complete_from
        )

    def lists_at(self, promote_at: int) -> ListsAt:
        """Between two points of the grid, by the logarithm of the threshold."""
        points = [each.promote_at for each in self.lists]
        after = bisect_right(points, promote_at)
        if after == len(points):
            return self.lists[-1]
        low, high = self.lists[after - 1], self.lists[after]
        part = math.log(promote_at / low.promote_at) / math.log(high.promote_at / low.promote_at)
        return mixed(low, high, part)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        kept: dict[str, Any] = dict(vars(self))
        kept["taken_at"] = self.taken_at.isoformat()
        for name, kind in _ROWS.items():
            kept[name] = [
                [getattr(row, field.name) for field in fields(kind)] for row in kept[name]
            ]
        return kept

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Survey:
        """The inputs as they were kept."""
        rows = {name: _read(kind, kept[name]) for name, kind in _ROWS.items()}
        return cls(**{**kept, **rows, "taken_at": dt.datetime.fromisoformat(kept["taken_at"])})


def mixed(low: ListsAt, high: ListsAt, part: float) -> ListsAt:
    """A `part` of the way from one to the other."""

    def at(name: str) -> float:
        first: float = getattr(low, name)
        last: float = getattr(high, name)
        return first + part * (last - first)

    values = {field.name: at(field.name) for field in fields(ListsAt)}
    whole = {name: round(values[name]) for name in ("promote_at", "p50", "p99", "largest")}
    return ListsAt(**{**values, **whole})  # type: ignore[arg-type]


_ROWS: dict[str, type[Any]] = {"cells": Cell, "named": NamedAccount, "lists": ListsAt}


def _read(kind: type[Any], rows: Sequence[Sequence[Any]]) -> list[Any]:
    names = [field.name for field in fields(kind)]
    return [kind(**dict(zip(names, row, strict=True))) for row in rows]
