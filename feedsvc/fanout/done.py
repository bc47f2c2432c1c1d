"""Write `done` for a fan-out, after reading from Redis that each of its cursors is at END."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import bindparam, func, select, update

from feedsvc.fanout import lanes
from feedsvc.store.redis import delivery
from feedsvc.store.redis.delivery import END, Progress
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from feedsvc.store import Stores

    # Post -> the buckets to read for the post. For a post that is not in the mapping, all buckets
    # are read. Only a fan-out of a single batch may leave buckets out.
    Touched = Mapping[int, Collection[int]]

_log = structlog.get_logger()

# How long a pushed post stays on the celebrity list. A read that began before the push may miss the
# post in the home list. It still finds the post on the celebrity list, because a read takes far
# less than 3 s.
TAKE_OFF_AFTER = dt.timedelta(seconds=3)

_POSTS = Post.id.in_(bindparam("posts", expanding=True))
# This query locks the posts, in ascending order, before any fan-out is locked. A deletion uses the
# same order, so the two cannot deadlock.
_UNFINISHED = (
    select(Post.id)
    .where(_POSTS, Post.pushed_at.is_(None), Post.deleted_at.is_(None))
    .order_by(Post.id)
    .with_for_update()
)
_MARK_PUSHED = update(Post).where(_POSTS).values(pushed_at=db_time())
_MARK_DONE = (
    update(Fanout)
    .where(Fanout.post_id == bindparam("post"))
    .values(
        state="done",
        followers=bindparam("of"),
        delivered=bindparam("delivered"),
        skipped=bindparam("skipped"),
        batches=bindparam("batches"),
        started_at=func.coalesce(Fanout.started_at, bindparam("started")),
        finished_at=db_time(),
        next_look_at=db_time(TAKE_OFF_AFTER),
    )
)


def progress(
    stores: Stores, fanouts: Mapping[int, Sequence[int]], touched: Touched
) -> dict[int, list[Progress]]:
    """Return the progress of every lane of some fan-outs, in one round trip.

    `fanouts` maps a post to the bounds of its lanes.
    """
    all_buckets = range(stores.keys.buckets)
    wanted = [
        (post_id, lane, touched.get(post_id, all_buckets))
        for post_id, bounds in fanouts.items()
        for lane in lanes.between(bounds)
    ]
    found: dict[int, list[Progress]] = {post_id: [] for post_id in fanouts}
    for (post_id, _, _), reached in zip(wanted, delivery.progress(stores, wanted), strict=True):
        found[post_id].append(reached)
    return found


def total(reached: Sequence[Progress]) -> Progress:
    """Return the summed counts of all lanes.

    The cursor is that of the first lane that is not at END, or END if every lane is.
    """
    cursor = next((each.cursor for each in reached if each.cursor != END), END)
    return Progress(
        cursor, *(sum(counts) for counts in zip(*(each[1:] for each in reached), strict=True))
    )


def write(
    stores: Stores, fanouts: Mapping[int, Sequence[int]], started: dt.datetime, touched: Touched
) -> dict[int, list[str]]:
    """Write `done` for each fan-out whose lanes have all reached their end.

    Returns, for each fan-out, the cursors of its unfinished lanes. This function reads the cursors
    again and does not trust the link. If Redis lost its data meanwhile, it has lost the pushes and
    the cursors, so the fan-out is not done.
    """
    reached = progress(stores, fanouts, touched)
    left = {
        post_id: [each.cursor for each in lanes_reached if each.cursor != END]
        for post_id, lanes_reached in reached.items()
    }
    ended = {post_id: total(reached[post_id]) for post_id, cursors in left.items() if not cursors}
    if ended:
        _write(stores, ended, started)
    return left


def _write(stores: Stores, ended: Mapping[int, Progress], started: dt.datetime) -> None:
    with stores.sql.writing() as connection:
        posts = list(connection.scalars(_UNFINISHED, {"posts": list(ended)}))
        if posts:
            rows = [
                {
                    "post": post_id,
                    "of": ended[post_id].delivered + ended[post_id].skipped,
                    "delivered": ended[post_id].delivered,
                    "skipped": ended[post_id].skipped,
                    "batches": ended[post_id].batches,
                    "started": started,
                }
                for post_id in posts
            ]
            connection.execute(_MARK_DONE, rows)
            connection.execute(_MARK_PUSHED, {"posts": posts})
    for post_id in posts:
        reached = ended[post_id]
        _log.info(
            "fanout.done",
            post_id=post_id,
            delivered=reached.delivered,
            skipped=reached.skipped,
            batches=reached.batches,
        )
