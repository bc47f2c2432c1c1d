"""Invariants of the stored lists: none is too long, and each has every post above its floor."""

from __future__ import annotations

import sqlalchemy as sa

from feedsvc.cache import celebrity_lists
from feedsvc.store.redis import keys, lists
from feedsvc.store.redis.lists import Marker
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.sql.tables import Account, Follow, OutboxRow, Post


def put_post(stores, author, post_id):
    """Put a post only on its author's celebrity list. Return the marker under which to build it."""
    trip = RoundTrip(stores.redis)
    marker = celebrity_lists._add_post(trip, author, post_id, stores.limits)
    trip.run()
    return None if marker.value is None else Marker.parse(marker.value)


def are_true(stores):
    with stores.sql.reading() as connection:
        is_pending = connection.scalar(sa.select(sa.func.count()).select_from(OutboxRow))
        posts = connection.execute(
            sa.select(Post.id, Post.author_id, Post.route, Post.pushed_at).where(
                Post.deleted_at.is_(None)
            )
        ).all()
        follows = {
            tuple(row)
            for row in connection.execute(sa.select(Follow.follower_id, Follow.followee_id))
        }
        accounts = list(connection.scalars(sa.select(Account.id)))
    longest = stores.limits.feed_cap + stores.limits.feed_slack
    for account in accounts:
        for key in (stores.keys.homefeed(account), keys.celebrity_posts(account)):
            assert stores.redis.llen(key) - 1 <= longest, f"{key} exceeds cap + slack"
        if is_pending:
            continue  # the sweep has to apply the effects of a change first
        home = lists.read(stores.redis, stores.keys.homefeed(account))
        if home:
            belongs = {
                p.id
                for p in posts
                if p.pushed_at and (p.author_id == account or (account, p.author_id) in follows)
            }
            _has_all_above_floor(home, belongs, stores.keys.homefeed(account))
        listed = lists.read(stores.redis, keys.celebrity_posts(account))
        if listed:
            _has_all_above_floor(
                listed,
                {p.id for p in posts if p.author_id == account and p.pushed_at is None},
                keys.celebrity_posts(account),
            )


def _has_all_above_floor(found, belongs, key):
    above = {post for post in belongs if post > found.floor}
    assert above <= set(found.ids), f"{key} lacks a post above its floor"
