"""Gather the facts that explain whether a post is in a feed.

The facts come from SQL, from the stored lists and from the reader. The stored lists are read first,
in the reader's order, because the reader stores a list that is absent. Nothing else changes.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from feedsvc.errors import NotFound
from feedsvc.fanout import done, lanes
from feedsvc.feed import reader
from feedsvc.graph import followers
from feedsvc.graph.accounts import require
from feedsvc.inspection.explanation import Explanation, FanoutFacts, StoredList
from feedsvc.store.redis import keys, lists
from feedsvc.store.redis.delivery import END
from feedsvc.store.sql.tables import Account, Block, Fanout, Follow, Mute, Post

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores


def explain(stores: Stores, viewer: int, post_id: int) -> Explanation:
    """Explain whether the post is in the viewer's feed, and why.

    Gathers the facts once more if SQL and the reader disagree: a change in between is no fault.
    Raises `NotFound` for an unknown viewer, and for a post that never existed.
    """
    facts = _gather(stores, viewer, post_id)
    return facts if facts.in_feed == facts.served else _gather(stores, viewer, post_id)


def _gather(stores: Stores, viewer: int, post_id: int) -> Explanation:
    with stores.sql.reading() as connection:
        row = _sql_facts(connection, viewer, post_id)
        batch = (
            followers.batch_number(stores, connection, row.author_id, viewer)
            if row.route == "push"
            else None
        )
    celebrity_list = _stored_list(stores, keys.celebrity_posts(row.author_id), post_id)
    home = _stored_list(stores, stores.keys.homefeed(viewer), post_id)
    fanout = _fanout_facts(stores, row, viewer, batch)
    feed = reader.read_feed(stores.with_empty_near_cache(), viewer)
    return Explanation(
        viewer=viewer,
        post_id=post_id,
        author_id=row.author_id,
        served=[item.id for item in feed.below(post_id + 1, 1)] == [post_id],
        follows=row.follows,
        followed_since=(
            None
            if row.followed_at_seconds is None
            else dt.datetime.fromtimestamp(row.followed_at_seconds, dt.UTC)
        ),
        hidden_by=[
            name
            for name, hides in (
                ("mute", row.mutes),
                ("block", row.blocks),
                ("blocked by author", row.is_blocked),
            )
            if hides
        ],
        deleted_at=row.deleted_at,
        route=row.route,
        policy_version=row.policy_version,
        pushed_at=row.pushed_at,
        fanout=fanout,
        home=home,
        celebrity_list=celebrity_list,
        horizon=feed.horizon,
    )


def _sql_facts(connection: Connection, viewer: int, post_id: int) -> Row[*tuple[Any, ...]]:
    """Return all facts of SQL in one statement, so that they are of one moment."""
    require(connection, viewer)
    author = Post.author_id
    columns: tuple[Any, ...] = (
        Post.id.label("post_id"),
        author,
        Post.deleted_at,
        Post.route,
        Post.policy_version,
        Post.pushed_at,
        Fanout.state,
        Fanout.batches,
        Fanout.lane_bounds,
        Follow.follower_id.is_not(None).label("follows"),
        Follow.followed_at_seconds,
        sa.exists().where(Mute.account_id == viewer, Mute.muted_id == author).label("mutes"),
        sa.exists().where(Block.account_id == viewer, Block.blocked_id == author).label("blocks"),
        sa.exists()
        .where(Block.account_id == author, Block.blocked_id == viewer)
        .label("is_blocked"),
    )
    edge = sa.and_(Follow.followee_id == author, Follow.follower_id == viewer)
    query = (
        sa.select(*columns)
        .select_from(Post)
        .join(Fanout, Fanout.post_id == Post.id)
        .join(Account, sa.and_(Account.id == author, ~Account.deleting))
        .outerjoin(Follow, edge)
        .where(Post.id == post_id)
    )
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("post", post_id)
    return row


def _fanout_facts(
    stores: Stores, row: Row[*tuple[Any, ...]], viewer: int, batch: int | None
) -> FanoutFacts:
    bounds = row.lane_bounds or ()
    progress = done.progress(
        stores, {row.post_id: bounds}, {row.post_id: [stores.keys.bucket(viewer)]}
    )[row.post_id]
    is_own = viewer == row.author_id
    has_passed = None
    if batch is not None or (is_own and row.route == "push"):
        # The first slice of a fan-out carries the author's own feed.
        follower = 1 if is_own else viewer
        cursor = progress[lanes.carrying(bounds, follower).number].cursor
        # `pushed_at`, not the state: a deletion writes `done` without pushing.
        has_passed = row.pushed_at is not None or cursor == END or int(cursor) >= follower
    return FanoutFacts(
        state=row.state,
        batch=batch,
        batches=row.batches if row.state == "done" else done.total(progress).batches,
        has_passed=has_passed,
    )


def _stored_list(stores: Stores, key: str, post_id: int) -> StoredList:
    raw = cast("list[bytes]", stores.redis.lrange(key, 0, -1))
    stored = lists.parse(raw)
    holds_post = str(post_id).encode() in raw
    if stored is None:
        return StoredList("building" if raw else "absent", None, holds_post)
    return StoredList("valid", stored.floor, holds_post)
