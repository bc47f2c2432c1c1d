"""Is this post in this feed, and why or why not: what SQL says, what the stored lists held, and what the reader shows.

It only looks. The lists are looked at as they are, in the order in which the reader reads them, and before it does: reading
stores what was absent.
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
from feedsvc.store.sql.tables import Block, Fanout, Follow, Mute, Post

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores
    from feedsvc.store.redis.delivery import Progress


def explain(stores: Stores, viewer: int, post_id: int) -> Explanation:
    """Whether the post is in the viewer's feed, and why. Raises `NotFound` for an unknown viewer, or a post that never was.

    Where the truth and the reader differ, it looks again: a change in between is no fault.
    """
    found = _look(stores, viewer, post_id)
    return found if found.in_feed == found.served else _look(stores, viewer, post_id)


def _look(stores: Stores, viewer: int, post_id: int) -> Explanation:
    with stores.sql.reading() as connection:
        row = _truth(connection, viewer, post_id)
        batch = (
            followers.batch_number(stores, connection, row.author_id, viewer)
            if row.route == "push"
            else None
        )
    celebrity_list = _stored(stores, keys.celebrity_posts(row.author_id), post_id)
    home = _stored(stores, stores.keys.homefeed(viewer), post_id)
    fanout = _fanout(stores, row, viewer, batch)
    feed = reader.look(stores.without_near_cache(), viewer)
    return Explanation(
        viewer=viewer,
        post_id=post_id,
        author_id=row.author_id,
        served=[item.id for item in feed.below(post_id + 1, 1)] == [post_id],
        follows=row.follows,
        followed_since=_moment(row.followed_at_seconds),
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


def _truth(connection: Connection, viewer: int, post_id: int) -> Row[*tuple[Any, ...]]:
    """All that SQL knows of the two, in one statement: at one moment."""
    require(connection, viewer)
    author = Post.author_id
    columns: tuple[Any, ...] = (
        *(
            Post.id.label("post_id"),
            author,
            Post.deleted_at,
            Post.route,
            Post.policy_version,
            Post.pushed_at,
            Fanout.state,
            Fanout.batches,
            Fanout.lane_bounds,
        ),
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
        .outerjoin(Follow, edge)
    )
    row = connection.execute(query.where(Post.id == post_id)).first()
    if row is None:
        raise NotFound("post", post_id)
    return row


def _fanout(
    stores: Stores, row: Row[*tuple[Any, ...]], viewer: int, batch: int | None
) -> FanoutFacts:
    bounds = row.lane_bounds or ()
    reached = done.progress(
        stores, {row.post_id: bounds}, {row.post_id: [stores.keys.bucket(viewer)]}
    )[row.post_id]
    batches = row.batches if row.state == "done" else done.total(reached).batches
    is_own = viewer == row.author_id
    has_passed = None
    if batch is not None or (is_own and row.route == "push"):
        # The author's own feed goes with the first slice. A fan-out that a deletion has ended is done, and was not pushed.
        has_passed = row.pushed_at is not None or _is_past(bounds, reached, 1 if is_own else viewer)
    return FanoutFacts(row.state, batch, batches, has_passed)


def _is_past(bounds: Sequence[int], reached: Sequence[Progress], follower: int) -> bool:
    cursor = reached[lanes.carrying(bounds, follower).number].cursor
    return cursor == END or int(cursor) >= follower


def _stored(stores: Stores, key: str, post_id: int) -> StoredList:
    raw = cast("list[bytes]", stores.redis.lrange(key, 0, -1))
    parsed = lists.parse(raw)
    holds_post = str(post_id).encode() in raw
    if parsed is None:
        return StoredList("building" if raw else "absent", None, holds_post)
    return StoredList("valid", parsed.floor, holds_post)


def _moment(seconds: int | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)
