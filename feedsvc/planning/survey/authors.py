"""Who posts how often, and how many follow them: cells and names, from the accounts, and from the posts of the last days."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.planning.survey.aggregates import Cell, NamedAccount
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Pin, Post

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    # followers, route of the latest post -> accounts
    Histogram = dict[tuple[int, str | None], int]

# All accounts this large and larger, up to so many, are known by name; of the rest a few of each size.
_LARGEST = 500
_OF_EACH_SIZE = 10
# Nobody looks for a name among more accounts with one and the same follower count.
_ALIKE = 100


@dataclass(frozen=True)
class Author:
    """An account that has posted lately."""

    account: int
    followers: int
    last_route: str | None
    posts: float


@dataclass(frozen=True)
class Posting:
    """The posts of the window, per day."""

    rates: Mapping[int, float]
    authors: Sequence[Author]
    # How many entries a list of an account gets, of so many posts a day.
    history_days: float
    cap: int
    # Every account that anybody follows is taken to post: none, or too few, have.
    is_assumed: bool

    def rate(self, account: int, followers: int) -> float:
        """Posts a day of an account."""
        return assumed_rate(followers) if self.is_assumed else self.rates.get(account, 0.0)

    def has_list(self, followers: int, last_route: str | None) -> bool:
        """Whether an account has a celebrity list while it is pulled: it has posted."""
        return followers > 0 if self.is_assumed else last_route is not None

    def entries(self, rate: float) -> float:
        """What the list of an account that has posted holds."""
        return min(self.cap, max(1.0, rate * self.history_days))


def assumed_rate(followers: int) -> float:
    """Posts a day where none were counted: the rule of the Pequod experiments (NSDI 2014), one post a day at a hundred followers.

    The weight of an account is 0.1 below ten followers and from there on on average (1 + ⌊2·log10 f⌋) / 2; without followers 0.
    """
    if followers == 0:
        return 0.0
    weight = 0.1 if followers < 10 else (1 + math.floor(2 * math.log10(followers))) / 2  # noqa: PLR2004
    return weight / 2.5


def histogram(connection: Connection) -> Histogram:
    """How many accounts have so many followers and posted last by this route. Scans the accounts: not for a request."""
    columns = (Account.follower_count, Account.last_route)
    rows = connection.execute(
        sa.select(*columns, sa.func.count()).where(~Account.deleting).group_by(*columns)
    )
    return {(followers, route): accounts for followers, route, accounts in rows}


def authors(connection: Connection, since_id: int, per_day: float) -> list[Author]:
    """Who has posted from this id on: a range of the primary key."""
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


@dataclass
class _Sum:
    accounts: int = 0
    posted: int = 0
    pulled: int = 0
    followers: int = 0
    posts: float = 0.0
    follower_ids: float = 0.0
    entries: float = 0.0

    def add(
        self, accounts: int, followers: int, rate: float, posting: Posting, route: str | None
    ) -> None:
        has_list = posting.has_list(followers, route)
        self.accounts += accounts
        self.posted += accounts * has_list
        self.pulled += accounts * (route == "pull")
        self.followers += accounts * followers
        self.posts += accounts * rate
        self.follower_ids += accounts * rate * followers
        self.entries += accounts * posting.entries(rate) * has_list


@dataclass
class Cells:
    """The accounts of each size and each rate of posting, added up while they are found."""

    points: Sequence[int]
    posting: Posting
    _sums: dict[tuple[int, int | None], _Sum] = field(default_factory=lambda: defaultdict(_Sum))

    def add(self, accounts: int, followers: int, rate: float, route: str | None) -> None:
        """Add (or, below nought, take out) some accounts that are alike."""
        kind = math.floor(math.log2(rate)) if rate else None
        self._sums[self.size(followers), kind].add(accounts, followers, rate, self.posting, route)

    def size(self, followers: int) -> int:
        """Which interval of the grid; -1 for accounts without followers."""
        return bisect_right(self.points, followers) - 1

    def done(self) -> list[Cell]:
        """The cells that anybody is in."""
        kept = sorted(
            self._sums.items(),
            key=lambda item: (item[0][0], item[0][1] is not None, item[0][1] or 0),
        )
        return [
            Cell(**self._bounds(at), **vars(found)) for (at, _), found in kept if found.accounts > 0
        ]

    def _bounds(self, at: int) -> dict[str, int]:
        high = self.points[at + 1] if at + 1 < len(self.points) else 2 * self.points[-1]
        return {"low": self.points[at] if at >= 0 else 0, "high": high}


def complete_from(counts: Histogram) -> int:
    """From how many followers on all accounts are few enough to be known by name."""
    by_count = _by_count(counts)
    lowest, known = max(by_count, default=0) + 1, 0
    for followers in sorted(by_count, reverse=True):
        known += by_count[followers]
        if known > _LARGEST or followers == 0:
            break
        lowest = followers
    return lowest


def named(connection: Connection, counts: Histogram, cells: Cells) -> list[NamedAccount]:
    """The largest accounts, some of the largest and of the most talkative of each size, and all that are pinned."""
    pins = pinned(connection)
    wanted = Account.id.in_(pins) | Account.follower_count.in_(_looked_up(counts, cells))
    columns = (Account.id, Account.follower_count, Account.last_route)
    found = {
        account: (followers, route)
        for account, followers, route in connection.execute(sa.select(*columns).where(wanted))
    }
    found |= {author.account: (author.followers, author.last_route) for author in _talkative(cells)}
    return [
        _named(cells.posting, account, *found[account], pins.get(account))
        for account in sorted(found)
    ]


def pinned(connection: Connection) -> dict[int, str]:
    """The accounts whose route is fixed now."""
    stands = Pin.expires_at.is_(None) | (Pin.expires_at > now())
    return {
        row.account_id: row.route
        for row in connection.execute(sa.select(Pin.account_id, Pin.route).where(stands))
    }


def _named(
    posting: Posting, account: int, followers: int, route: str | None, pin: str | None
) -> NamedAccount:
    rate = posting.rate(account, followers)
    entries = posting.entries(rate) if posting.has_list(followers, route) else 0.0
    return NamedAccount(
        account_id=account,
        follower_count=followers,
        posts=rate,
        entries=entries,
        last_route=route,
        pin=pin,
    )


def _looked_up(counts: Histogram, cells: Cells) -> list[int]:
    """The follower counts whose accounts are looked up by name."""
    by_count = _by_count(counts)
    complete = complete_from(counts)
    chosen: list[int] = []
    in_size: dict[int, int] = defaultdict(int)
    for followers in sorted(by_count, reverse=True):
        size = cells.size(followers)
        if followers >= complete or (
            followers > 0 and in_size[size] < _OF_EACH_SIZE and by_count[followers] <= _ALIKE
        ):
            chosen.append(followers)
        in_size[size] += by_count[followers]
    return chosen


def _talkative(cells: Cells) -> Iterator[Author]:
    by_size: dict[int, list[Author]] = defaultdict(list)
    for author in cells.posting.authors:
        by_size[cells.size(author.followers)].append(author)
    for alike in by_size.values():
        yield from heapq.nlargest(_OF_EACH_SIZE, alike, key=_posts)


def _posts(author: Author) -> float:
    return author.posts


def _by_count(counts: Histogram) -> dict[int, int]:
    found: dict[int, int] = defaultdict(int)
    for (followers, _), accounts in counts.items():
        found[followers] += accounts
    return found
