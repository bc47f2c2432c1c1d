"""The end of a fan-out: `done`, written only after a look at the cursors themselves."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import bindparam, func, select, update

from feedsvc.fanout import lanes
from feedsvc.store.redis import delivery
from feedsvc.store.redis.delivery import END, Progress
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from feedsvc.store import Stores

    # Post -> the buckets of its followers, if they are fewer than all: a fan-out of one batch touches no others.
    Touched = Mapping[int, Collection[int]]

_log = structlog.get_logger()

# A pushed post stays on the celebrity list a little longer: reads that are under way finish on it.
TAKE_OFF_AFTER = dt.timedelta(seconds=3)

_POSTS = Post.id.in_(bindparam("posts", expanding=True))
# Posts before their fan-outs and in one order, as deletions hold them: nobody waits for one who waits.
_UNFINISHED = (
    select(Post.id)
    .where(_POSTS, Post.pushed_at.is_(None), Post.deleted_at.is_(None))
    .order_by(Post.id)
    .with_for_update()
)
_PUSHED = update(Post).where(_POSTS).values(pushed_at=bindparam("at"))


def progress(
    stores: Stores, fanouts: Mapping[int, Sequence[int]], touched: Touched
) -> dict[int, list[Progress]]:
    """The progress of every lane of these fan-outs in the buckets that they touch. `fanouts`: post -> the bounds of its lanes."""
    everywhere = range(stores.keys.buckets)
    wanted = [
        (post_id, lane, touched.get(post_id, everywhere))
        for post_id, bounds in fanouts.items()
        for lane in lanes.between(bounds)
    ]
    found: dict[int, list[Progress]] = {post_id: [] for post_id in fanouts}
    for (post_id, _, _), reached in zip(wanted, delivery.progress(stores, wanted), strict=True):
        found[post_id].append(reached)
    return found


def total(reached: Sequence[Progress]) -> Progress:
    """The lanes of one fan-out together: the counts added up; END if all are there, else the first cursor that is not."""
    cursor = next((each.cursor for each in reached if each.cursor != END), END)
    return Progress(
        cursor, *(sum(counts) for counts in zip(*(each[1:] for each in reached), strict=True))
    )


def write(
    stores: Stores, fanouts: Mapping[int, Sequence[int]], started: dt.datetime, touched: Touched
) -> dict[int, list[str]]:
    """Write `done` for those of these fan-outs whose lanes are all at their end; returns the cursors of the lanes that are not.

    A Redis that was lost meanwhile has lost the pushes as well: so the cursors are looked at here, and nobody's word is taken.
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
        first = list(connection.scalars(_UNFINISHED, {"posts": list(ended)}))
        if first:
            connection.execute(
                _FINISHED, [_values(post_id, ended[post_id], started) for post_id in first]
            )
            connection.execute(_PUSHED, {"posts": first, "at": now()})
    for post_id in first:
        reached = ended[post_id]
        _log.info(
            "fanout.done",
            post_id=post_id,
            delivered=reached.delivered,
            skipped=reached.skipped,
            batches=reached.batches,
        )


_FINISHED = (
    update(Fanout)
    .where(Fanout.post_id == bindparam("post"))
    .values(
        state="done",
        followers=bindparam("of"),
        delivered=bindparam("delivered"),
        skipped=bindparam("skipped"),
        batches=bindparam("batches"),
        started_at=func.coalesce(Fanout.started_at, bindparam("started")),
        finished_at=bindparam("finished"),
        next_look_at=bindparam("look"),
    )
)


def _values(post_id: int, reached: Progress, started: dt.datetime) -> dict[str, Any]:
    return {
        "post": post_id,
        "of": reached.delivered + reached.skipped,
        "delivered": reached.delivered,
        "skipped": reached.skipped,
        "batches": reached.batches,
        "started": started,
        "finished": now(),
        "look": now() + TAKE_OFF_AFTER,
    }
