"""What a calibration works with: a few thousand accounts, and feeds that are full, in scratch stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.fanout import sweep
from feedsvc.planning.calibration.fixture_viewers import FixtureViewers
from feedsvc.planning.calibration.meter import spaced
from feedsvc.posts import publish
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Fanout, Follow, Post

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feedsvc.store import Stores

# As long as ids of apps often are.
_FIRST = 9_007_199_254_740_000
FOLLOWERS = 2_000
SMALL = 20
_REAL = 40


@dataclass
class FixtureAccounts:
    """Accounts by their parts."""

    stores: Stores
    # So many celebrity lists the process holds that nobody here reads.
    more: int
    # Followers of `author` with a full feed, and as many of `skipped` that have none.
    materialised: list[int] = field(default_factory=list)
    author: int = _FIRST + 900_000
    skipped: int = _FIRST + 900_001
    small: int = _FIRST + 900_002
    # Those whose reads are measured.
    audience: FixtureViewers = field(init=False)

    def __post_init__(self) -> None:
        """Draw up who reads."""
        self.audience = FixtureViewers(self.stores, self.more)

    def build(self) -> None:
        """Make everything."""
        self.materialised = [_FIRST + number for number in range(FOLLOWERS)]
        cold = [_FIRST + 100_000 + number for number in range(FOLLOWERS)]
        follows = [
            *((follower, self.author) for follower in self.materialised),
            *((follower, self.skipped) for follower in cold),
            *((follower, self.small) for follower in self.materialised[-SMALL:]),
            *self.audience.follows(),
        ]
        self._insert_accounts(follows)
        self._fill_feeds()
        self.audience.build()

    def upload(self, author: int, count: int) -> list[int]:
        """Uploads, each by itself, none of them enqueued."""
        return [
            publish.publish(
                self.stores,
                lambda *_: None,
                author,
                photo_url="https://img.example/1.jpg",
                description="Sunset",
            ).post_id
            for _ in spaced(range(count))
        ]

    def _insert_accounts(self, follows: Sequence[tuple[int, int]]) -> None:
        accounts = {
            account: {"id": account, "follower_count": 0} for pair in follows for account in pair
        }
        for _, followee in follows:
            accounts[followee]["follower_count"] += 1
        rows = [
            {"follower_id": follower, "followee_id": followee} for follower, followee in follows
        ]
        with self.stores.sql.writing() as connection:
            connection.execute(sa.insert(Account), list(accounts.values()))
            connection.execute(sa.insert(Follow), rows)

    def _fill_feeds(self) -> None:
        """Feeds as after a long run: each at a random place between two trims; the newest posts are there."""
        real = self.upload(self.author, _REAL)[::-1]
        for first in range(0, FOLLOWERS, 100):
            with self.stores.redis.pipeline(transaction=False) as pipe:
                for follower in self.materialised[first : first + 100]:
                    length = self.audience.length()
                    older = [real[-1] - number for number in range(1, length - _REAL)]
                    pipe.rpush(self.stores.keys.homefeed(follower), *real[:length], *older, "f1")
                pipe.execute()
        self._is_pushed()

    def _is_pushed(self) -> None:
        """What was uploaded so far is in the feeds, and leaves the celebrity list."""
        with self.stores.sql.writing() as connection:
            connection.execute(sa.update(Post).where(Post.route == "push").values(pushed_at=now()))
            connection.execute(sa.update(Fanout).values(state="done", next_look_at=now()))
        sweep.sweep(self.stores, lambda *_: None)
