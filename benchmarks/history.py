"""A network that has been running for a day: posts by weight, and every view of them as the threshold would have left it."""

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
from feedsvc.store.redis import celebrities, keys
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Follow, Post

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redis.client import Pipeline

    from feedsvc.store import Stores
    from feedsvc.store.near_cache.snapshot import Snapshot

_DAY_MS = 86_400_000
_AT_ONCE = 1_000


@dataclass(frozen=True)
class Network:
    """Who follows whom, how large everybody is, and what was posted, newest first."""

    sizes: dict[int, int]
    followees: dict[int, list[int]]
    posts: dict[int, list[int]]


def weight(followers: int, source: random.Random) -> float:
    """How much an account posts, by its followers: 0.1 below ten, else uniform in 1 … ⌊2·log10 f⌋ (the Pequod experiments' rule)."""
    if followers == 0:
        return 0.0
    return (
        0.1 if followers < 10 else source.randint(1, max(1, math.floor(2 * math.log10(followers))))
    )


def make(stores: Stores, count: int, seed: int) -> Network:
    """So many posts, spread evenly over the day before now, all in SQL as pushed; nothing in Redis but bytes and relations."""
    sizes = follower_counts(stores)
    posts = make_posts(stores, sizes, count, seed)
    followees = defaultdict(list)
    with stores.sql.reading() as connection:
        for follower, followee in connection.execute(
            sa.select(Follow.follower_id, Follow.followee_id)
        ):
            followees[follower].append(followee)
    for account in sizes:
        relations.visible_authors(stores, account)
    return Network(sizes, followees, posts)


def follower_counts(stores: Stores) -> dict[int, int]:
    """How large every account is."""
    with stores.sql.reading() as connection:
        return {
            row.id: row.follower_count
            for row in connection.execute(sa.select(Account.id, Account.follower_count))
        }


def make_posts(
    stores: Stores, sizes: Mapping[int, int], count: int, seed: int
) -> dict[int, list[int]]:
    """So many posts, by author, newest first; in SQL as pushed, in Redis their bytes."""
    authors = draw_posters(sizes, count, random.Random(seed))
    newest_ms = int(time.time() * 1_000) - 60_000
    made = [
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
                for post, author in made
            ],
        )
        connection.execute(
            sa.update(Account)
            .where(Account.id.in_(sa.select(Post.author_id)))
            .values(last_route="push")
        )
    posts = defaultdict(list)
    for post, author in made:
        posts[author].append(post)
    for first in range(0, count, _AT_ONCE):
        post_bodies.read(stores, [post for post, _ in made[first : first + _AT_ONCE]])
    return posts


def draw_posters(sizes: Mapping[int, int], count: int, source: random.Random) -> list[int]:
    """Accounts, each as often as it posts."""
    return source.choices(
        list(sizes), [weight(followers, source) for followers in sizes.values()], k=count
    )


def pull(stores: Stores, promote_at: int) -> None:
    """In SQL: accounts of this size and above have had their posts pulled, and the others theirs pushed."""
    large = sa.select(Account.id).where(Account.follower_count >= promote_at)
    to_pull, to_push = Post.author_id.in_(large), Post.author_id.not_in(large)
    with stores.sql.writing() as connection:
        connection.execute(
            sa.update(Post)
            .where(to_pull, Post.route == "push")
            .values(route="pull", pushed_at=None)
        )
        connection.execute(
            sa.update(Post)
            .where(to_push, Post.route == "pull")
            .values(route="push", pushed_at=now())
        )
        pulled, pushed = Account.follower_count >= promote_at, Account.follower_count < promote_at
        connection.execute(
            sa.update(Account).where(pulled, Account.last_route == "push").values(last_route="pull")
        )
        connection.execute(
            sa.update(Account).where(pushed, Account.last_route == "pull").values(last_route="push")
        )


def materialise(stores: Stores, network: Network, viewers: Iterable[int], promote_at: int) -> None:
    """In Redis: the home feeds of these viewers, and the lists of all celebrities with posts."""
    pushed = {
        author: posts
        for author, posts in network.posts.items()
        if network.sizes[author] < promote_at
    }
    fill_feeds(stores, pushed, {viewer: network.followees[viewer] for viewer in viewers})
    list_posts(
        stores, {author: posts for author, posts in network.posts.items() if author not in pushed}
    )


def fill_feeds(
    stores: Stores, posts: Mapping[int, list[int]], followees: Mapping[int, Sequence[int]]
) -> None:
    """In Redis: the home feeds of these viewers, who follow these accounts, with these posts by author."""
    cap, pipe = stores.limits.feed_cap, stores.redis.pipeline(transaction=False)
    for viewer, followed in followees.items():
        newest = heapq.nlargest(
            cap + 1, chain.from_iterable(posts.get(author, ()) for author in (*followed, viewer))
        )
        pipe.delete(stores.keys.homefeed(viewer))
        _queue_list(pipe, stores.keys.homefeed(viewer), newest, cap)
        if len(pipe) >= _AT_ONCE:
            pipe.execute()
    pipe.execute()


def list_posts(stores: Stores, posts: Mapping[int, list[int]]) -> Snapshot:
    """In Redis: these authors' celebrity lists, in place of all that are there; what a process knows that has seen them be made."""
    pipe = stores.redis.pipeline(transaction=False)
    for author in posts.keys() | (celebrities.read(stores.redis) or set()):
        pipe.delete(keys.celebrity_posts(author))
    pipe.delete(keys.CELEBRITIES)
    for author, newest in posts.items():
        _queue_list(pipe, keys.celebrity_posts(author), newest, stores.limits.feed_cap)
        if len(pipe) >= _AT_ONCE:
            pipe.execute()
    pipe.execute()
    return celebrity_lists.reload(stores)


def _queue_list(pipe: Pipeline, key: str, newest: list[int], cap: int) -> None:
    found = FloorList.of_newest(newest, cap)
    pipe.rpush(key, *found.ids, f"f{found.floor}")
