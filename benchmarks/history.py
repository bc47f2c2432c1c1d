"""A network after one day: posts drawn by weight, and the cached views that a threshold leaves."""

from __future__ import annotations

import datetime as dt
import heapq
import math
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import post_ids
from feedsvc.cache import celebrity_lists, post_bodies, relations
from feedsvc.store.redis import celebrities, keys, usage
from feedsvc.store.redis.lists import FloorList, Marker
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Follow, Post

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from redis.client import Pipeline

    from feedsvc.routing.policy import Route
    from feedsvc.store import Stores
    from feedsvc.store.near_cache.snapshot import Snapshot

_DAY_SECONDS = 86_400
_DAY_MS = 1_000 * _DAY_SECONDS
# More authors than any graph has. A Lua script takes no number above 2^53.
_ALL = 10**12
_CHUNK = 1_000


@dataclass(frozen=True)
class Network:
    """The followers of each account, its followees, and its posts, newest first.

    `sizes`: account -> number of followers. `posting`: account -> how much it posts.
    """

    sizes: dict[int, int]
    posting: dict[int, float]
    followees: dict[int, list[int]]
    posts: dict[int, list[int]]


def weight(followers: int, source: random.Random) -> float:
    """Draw how much an account posts, relative to others, from its number of followers f.

    0.1 below ten followers, else uniform in 1 … ⌊2·log10 f⌋: the rule of the Pequod experiments.
    """
    if followers == 0:
        return 0.0
    if followers < 10:
        return 0.1
    return source.randint(1, math.floor(2 * math.log10(followers)))


def make(stores: Stores, count: int, seed: int) -> Network:
    """Make `count` posts, spread evenly over the past day, and read all edges.

    All posts are in SQL as pushed. Redis has post bodies and relations, and no list.
    """
    sizes, source = follower_counts(stores), random.Random(seed)
    posting = posting_weights(sizes, source)
    posts = make_posts(stores, posting, count, source)
    followees = defaultdict(list)
    with stores.sql.reading() as connection:
        for follower, followee in connection.execute(
            sa.select(Follow.follower_id, Follow.followee_id)
        ):
            followees[follower].append(followee)
    for account in sizes:
        relations.visible_authors(stores, account)
    return Network(sizes, posting, followees, posts)


def follower_counts(stores: Stores) -> dict[int, int]:
    """Return the number of followers of every account."""
    with stores.sql.reading() as connection:
        return {
            row.id: row.follower_count
            for row in connection.execute(sa.select(Account.id, Account.follower_count))
        }


def make_posts(
    stores: Stores, posting: Mapping[int, float], count: int, source: random.Random
) -> dict[int, list[int]]:
    """Make `count` posts, in SQL as pushed, with their bodies in Redis; return them by author."""
    authors = draw_posters(posting, count, source)
    newest_ms = int(time.time() * 1_000) - 60_000
    pairs = [
        (post_ids.make(newest_ms - number * _DAY_MS // count, number), author)
        for number, author in enumerate(authors)
    ]
    common = {
        "photo_url": "https://img.example/1.jpg",
        "description": "A photo",
        "route": "push",
        "policy_version": 1,
    }
    pushed_at = now() - dt.timedelta(seconds=30)
    with stores.sql.writing() as connection:
        connection.execute(
            sa.insert(Post),
            [
                {"id": post, "author_id": author, "pushed_at": pushed_at, **common}
                for post, author in pairs
            ],
        )
        connection.execute(
            sa.update(Account)
            .where(Account.id.in_(sa.select(Post.author_id)))
            .values(last_route="push")
        )
    posts = defaultdict(list)
    for post, author in pairs:
        posts[author].append(post)
    for first in range(0, count, _CHUNK):
        post_bodies.read(stores, [post for post, _ in pairs[first : first + _CHUNK]])
    return posts


def make_reads(
    stores: Stores, viewers: Collection[int], count: float, source: random.Random
) -> None:
    """Count `count` reads of the past day, spread evenly over the viewers, as the service does.

    It counts the reads of a sample of the viewers only.
    """
    mean = count / max(1, len(viewers))
    trip = RoundTrip(stores.redis)
    for viewer in filter(usage.is_in_sample, viewers):
        key = stores.keys.reads(stores.keys.bucket(viewer), int(time.time()) // _DAY_SECONDS)
        # A Poisson number with a large mean is nearly normal.
        reads = max(1, round(source.gauss(mean, math.sqrt(mean))))
        trip.ask("HINCRBY", key, viewer, reads)
        trip.ask("EXPIRE", key, 2 * _DAY_SECONDS, "NX")
    trip.run()


def posting_weights(sizes: Mapping[int, int], source: random.Random) -> dict[int, float]:
    """Draw how much each account posts; `sizes`: account -> number of followers."""
    return {account: weight(followers, source) for account, followers in sizes.items()}


def draw_posters(posting: Mapping[int, float], count: int, source: random.Random) -> list[int]:
    """Draw `count` authors of posts by their weights."""
    return source.choices(list(posting), list(posting.values()), k=count)


def set_route(stores: Stores, route: Route, authors: Collection[int]) -> None:
    """Set the route of authors and of all their posts in SQL."""
    pushed_at, chosen = now() if route == "push" else None, list(authors)
    with stores.sql.writing() as connection:
        for first in range(0, len(chosen), _CHUNK):
            chunk = chosen[first : first + _CHUNK]
            connection.execute(
                sa.update(Post)
                .where(Post.author_id.in_(chunk))
                .values(route=route, pushed_at=pushed_at)
            )
            connection.execute(
                sa.update(Account).where(Account.id.in_(chunk)).values(last_route=route)
            )


def materialise(stores: Stores, network: Network, viewers: Iterable[int], promote_at: int) -> None:
    """Store in Redis the home feeds of the viewers, and the lists of all celebrities with posts."""
    pushed, pulled = {}, {}
    for author, posts in network.posts.items():
        (pushed if network.sizes[author] < promote_at else pulled)[author] = posts
    fill_feeds(stores, pushed, {viewer: network.followees[viewer] for viewer in viewers})
    fill_celebrity_lists(stores, pulled)


def fill_feeds(
    stores: Stores, posts: Mapping[int, list[int]], followees: Mapping[int, Sequence[int]]
) -> None:
    """Store in Redis the home feeds of viewers; `posts` by author, `followees` by viewer."""
    cap, pipe = stores.limits.feed_cap, stores.redis.pipeline(transaction=False)
    for viewer, followed in followees.items():
        newest = heapq.nlargest(
            cap + 1, chain.from_iterable(posts.get(author, ()) for author in (*followed, viewer))
        )
        pipe.delete(stores.keys.homefeed(viewer))
        _queue_list(pipe, stores.keys.homefeed(viewer), newest, cap)
        if len(pipe) >= _CHUNK:
            pipe.execute()
    pipe.execute()


def fill_celebrity_lists(stores: Stores, posts: Mapping[int, list[int]]) -> Snapshot:
    """Replace all celebrity lists in Redis; return the snapshot of a process that read them."""
    pipe = stores.redis.pipeline(transaction=False)
    for author in posts.keys() | (celebrities.read_few(stores.redis, _ALL) or set()):
        pipe.delete(keys.celebrity_posts(author))
    pipe.delete(keys.CELEBRITIES)
    for author, newest in posts.items():
        _queue_list(pipe, keys.celebrity_posts(author), newest, stores.limits.feed_cap)
        if len(pipe) >= _CHUNK:
            pipe.execute()
    pipe.execute()
    return celebrity_lists.reload(stores)


def _queue_list(pipe: Pipeline, key: str, newest: list[int], cap: int) -> None:
    floor_list = FloorList.of_newest(newest, cap)
    pipe.rpush(key, *floor_list.ids, Marker(floor_list.floor).format())
