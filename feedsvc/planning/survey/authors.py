"""The authors of a survey: posts and followers, in cells and by name.

Read from the accounts, and from the posts of the last days.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.planning.survey.aggregates import Cell, NamedAccount
from feedsvc.routing.next_route import pinned_routes
from feedsvc.store.sql.tables import Account, Post

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    # Accounts by their followers and their last route, which is the route of their latest post that
    # load shedding did not pull.
    Histogram = Mapping[tuple[int, str | None], int]

# Up to this many of the largest accounts are named, and a few of each smaller size.
_LARGEST = 500
_PER_SIZE = 10
# Constants of the Pequod workload (NSDI 2014), see `assumed_rate`.
_FEW_FOLLOWERS, _WEIGHT_AT_100 = 10, 2.5
# More accounts than this with one and the same follower count are not named.
_ALIKE = 100


@dataclass(frozen=True)
class Author:
    """An account that has posted in the window."""

    account: int
    followers: int
    last_route: str | None
    posts: float


@dataclass(frozen=True)
class Posting:
    """The posts of the window, per day."""

    rates: Mapping[int, float]
    authors: Sequence[Author]
    # A celebrity list holds the posts of this many days, at most `cap`.
    history_days: float
    cap: int
    # Too few accounts have posted. So every account with followers is taken to post.
    is_assumed: bool

    def rate(self, account: int, followers: int) -> float:
        """Return an account's posts per day."""
        return assumed_rate(followers) if self.is_assumed else self.rates.get(account, 0.0)

    def has_list(self, followers: int, last_route: str | None) -> bool:
        """Return whether an account has posted, and so has a celebrity list while it is pulled."""
        return followers > 0 if self.is_assumed else last_route is not None

    def entries(self, rate: float) -> float:
        """Return how many entries the list of an account that has posted holds."""
        return min(self.cap, max(1.0, rate * self.history_days))


def assumed_rate(followers: int) -> float:
    """Return the posts per day that are assumed if too few authors were counted.

    The rule of the Pequod experiments (NSDI 2014), scaled to one post per day at a hundred
    followers. The weight of an account without followers is 0. Below ten followers it is 0.1. From
    ten followers on, its mean is (1 + ⌊2 · log10 followers⌋) / 2.
    """
    if followers == 0:
        return 0.0
    if followers < _FEW_FOLLOWERS:
        return 0.1 / _WEIGHT_AT_100
    return (1 + math.floor(2 * math.log10(followers))) / 2 / _WEIGHT_AT_100


def histogram(connection: Connection) -> Histogram:
    """Count all accounts by followers and latest route.

    Scans the accounts, so it is not for a request.
    """
    columns = (Account.follower_count, Account.last_route)
    rows = connection.execute(
        sa.select(*columns, sa.func.count()).where(~Account.deleting).group_by(*columns)
    )
    return {(followers, route): accounts for followers, route, accounts in rows}


def authors(connection: Connection, since_id: int, per_day: float) -> list[Author]:
    """Return the authors of all posts from an id on, by a range of the primary key.

    `per_day`: the factor from posts in the range to posts per day.
    """
    posted = (
        sa.select(Post.author_id, sa.func.count().label("posts"))
        .where(Post.id >= since_id)
        .group_by(Post.author_id)
        .subquery()
    )
    query = sa.select(Account.id, Account.follower_count, Account.last_route, posted.c.posts).join(
        posted, Account.id == posted.c.author_id
    )
    return [
        Author(account, followers, route, posts * per_day)
        for account, followers, route, posts in connection.execute(query)
    ]


class Cells:
    """Accounts added up by size and rate. `points`: the thresholds that divide the sizes."""

    def __init__(self, points: Sequence[int], posting: Posting) -> None:
        self.posting = posting
        self._points = points
        # Interval n of the grid, -1 for accounts without followers, is from bound n + 1 to n + 2.
        self._bounds = [0, *points, 2 * points[-1]]
        # Key: the interval of the grid, and ⌊log2(posts per day)⌋ or -∞.
        self._cells: dict[tuple[int, float], Cell] = {}

    def add(self, accounts: int, followers: int, rate: float, route: str | None) -> None:
        """Add a number of equal accounts. A negative number removes them."""
        has_list = self.posting.has_list(followers, route)
        size, octave = self.size(followers), math.floor(math.log2(rate)) if rate else -math.inf
        cell = self._cells.get((size, octave))
        if cell is None:
            cell = Cell(low=self._bounds[size + 1], high=self._bounds[size + 2])
            self._cells[size, octave] = cell
        cell.accounts += accounts
        cell.posted += accounts * has_list
        cell.pulled += accounts * (route == "pull")
        cell.followers += accounts * followers
        cell.posts += accounts * rate
        cell.follower_ids += accounts * rate * followers
        cell.entries += accounts * self.posting.entries(rate) * has_list

    def size(self, followers: int) -> int:
        """Return the interval of the grid; -1 for accounts without followers."""
        return bisect_right(self._points, followers) - 1

    def done(self) -> list[Cell]:
        """Return the cells that have accounts, by size and rate."""
        return [self._cells[key] for key in sorted(self._cells) if self._cells[key].accounts > 0]


def complete_from(counts: Histogram) -> int:
    """Return the follower count from which on accounts are few enough to name all of them."""
    by_followers = _by_followers(counts)
    lowest, accounts = max(by_followers, default=0) + 1, 0
    for followers in sorted(by_followers, reverse=True):
        accounts += by_followers[followers]
        if accounts > _LARGEST or followers == 0:
            break
        lowest = followers
    return lowest


def named(connection: Connection, counts: Histogram, cells: Cells) -> list[NamedAccount]:
    """Name the largest accounts, pinned ones, and of each size some large and talkative ones."""
    pins, posting = pinned_routes(connection), cells.posting
    columns = (Account.id, Account.follower_count, Account.last_route)
    wanted = Account.id.in_(pins) | Account.follower_count.in_(_counts_to_name(counts, cells))
    found = {
        account: (followers, route)
        for account, followers, route in connection.execute(sa.select(*columns).where(wanted))
    }
    found |= {author.account: (author.followers, author.last_route) for author in _talkative(cells)}
    accounts = []
    for account, (followers, route) in sorted(found.items()):
        rate = posting.rate(account, followers)
        accounts.append(
            NamedAccount(
                account_id=account,
                follower_count=followers,
                posts=rate,
                entries=posting.entries(rate) if posting.has_list(followers, route) else 0.0,
                last_route=route,
                pin=pins.get(account),
            )
        )
    return accounts


def _counts_to_name(counts: Histogram, cells: Cells) -> list[int]:
    """Return the follower counts whose accounts are named."""
    by_followers = _by_followers(counts)
    complete = complete_from(counts)
    chosen: list[int] = []
    seen = Counter[int]()
    for followers in sorted(by_followers, reverse=True):
        size, accounts = cells.size(followers), by_followers[followers]
        if followers >= complete or (
            followers > 0 and seen[size] < _PER_SIZE and accounts <= _ALIKE
        ):
            chosen.append(followers)
        seen[size] += accounts
    return chosen


def _talkative(cells: Cells) -> Iterator[Author]:
    by_size: dict[int, list[Author]] = defaultdict(list)
    for author in cells.posting.authors:
        by_size[cells.size(author.followers)].append(author)
    for alike in by_size.values():
        yield from heapq.nlargest(_PER_SIZE, alike, key=attrgetter("posts"))


def _by_followers(counts: Histogram) -> Counter[int]:
    found = Counter[int]()
    for (followers, _), accounts in counts.items():
        found[followers] += accounts
    return found
