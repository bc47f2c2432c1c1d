"""Fixture accounts: authors in the scratch stores whose posts are pushed, and their followers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.fanout import sweep
from feedsvc.planning.calibration.meter import spaced
from feedsvc.posts import publish
from feedsvc.store.redis import delivery, lists
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Account, Fanout, Follow, Post

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping, Sequence

    from feedsvc.settings import Settings
    from feedsvc.store import Stores

FOLLOWERS = 2_000
SMALL = 20

# Ids have sixteen digits, as in many apps.
_FIRST = 9_007_199_254_740_000
_PUSHED_POSTS = 40
_LISTS_PER_TRIP = 100


class FixtureAccounts:
    """Three authors and their followers.

    `author` has `FOLLOWERS` followers with a full home feed, `no_feeds` has as many followers
    without a home feed, and `small` has `SMALL` followers.
    """

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.author, self.no_feeds, self.small = range(_FIRST + 900_000, _FIRST + 900_003)
        self.with_feed = range(_FIRST, _FIRST + FOLLOWERS)

    def build(self, source: random.Random) -> None:
        """Create the accounts and follows, and fill the home feeds.

        The feeds are filled as on a service that has run for a long time, with the newest posts of
        `author` at their head.
        """
        without_feed = range(_FIRST + 100_000, _FIRST + 100_000 + FOLLOWERS)
        insert_follows(
            self.stores,
            [
                *((follower, self.author) for follower in self.with_feed),
                *((follower, self.no_feeds) for follower in without_feed),
                *((follower, self.small) for follower in self.with_feed[-SMALL:]),
            ],
        )
        newest = self.upload(self.author, _PUSHED_POSTS)[::-1]
        limits = self.stores.limits
        ids = [*newest, *older_ids(newest[-1], limits)]
        feeds = {
            self.stores.keys.homefeed(follower): ids[: feed_length(source, limits)]
            for follower in self.with_feed
        }
        fill_lists(self.stores, feeds, floor=1)
        with self.stores.sql.writing() as connection:
            connection.execute(
                sa.update(Post).where(Post.route == "push").values(pushed_at=db_time())
            )
            connection.execute(sa.update(Fanout).values(state="done", next_look_at=db_time()))
        sweep.sweep(self.stores, lambda *_: None)

    def upload(self, author: int, count: int) -> list[int]:
        """Upload posts one by one without enqueuing their fan-outs. Returns their ids."""
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


def insert_follows(stores: Stores, follows: Sequence[tuple[int, int]]) -> None:
    """Insert pairs of follower and followee, and their accounts."""
    accounts = {
        account: {"id": account, "follower_count": 0} for pair in follows for account in pair
    }
    for _, followee in follows:
        accounts[followee]["follower_count"] += 1
    rows = [{"follower_id": follower, "followee_id": followee} for follower, followee in follows]
    with stores.sql.writing() as connection:
        connection.execute(sa.insert(Account), list(accounts.values()))
        connection.execute(sa.insert(Follow), rows)


def feed_length(source: random.Random, limits: Settings) -> int:
    """Return the length of a full home feed at a random moment between two trims."""
    shortest, lengths = delivery.trim_lengths(limits)
    return source.randint(limits.feed_cap, shortest + source.randrange(lengths))


def older_ids(below: int, limits: Settings) -> range:
    """Return ids below an id, descending, that fill a home feed. They belong to no post."""
    return range(below - 1, 0, -1)[: sum(delivery.trim_lengths(limits))]


def fill_lists(stores: Stores, ids_by_key: Mapping[str, Iterable[int]], *, floor: int) -> None:
    """Store lists of post ids, newest first, as valid lists with this floor."""
    marker = lists.Marker(floor).format()
    pipe = stores.redis.pipeline(transaction=False)
    for key, ids in ids_by_key.items():
        pipe.rpush(key, *ids, marker)
        if len(pipe) >= _LISTS_PER_TRIP:
            pipe.execute()
    pipe.execute()
