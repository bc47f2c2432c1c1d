"""Run the chain of a fan-out: each link delivers a batch of followers and enqueues the next link.

A link may run twice, late, or at the same time as another link of its post. The cursor in Redis
moves only in the atomic step that pushes. If Redis has another cursor than the message, the link
goes on from the cursor in Redis. The fan-out of a large account has several chains, one for each
lane.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import bindparam, func, select, update

from feedsvc.fanout import done, lanes, slices
from feedsvc.fanout.slices import Batch
from feedsvc.graph import followers
from feedsvc.store.redis import delivery
from feedsvc.store.redis.delivery import END, earliest
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Row

    from feedsvc.fanout.queues import Enqueue
    from feedsvc.store import Stores
    from feedsvc.store.redis.delivery import Lane, Slice

_log = structlog.get_logger()

# The sweep sends a fan-out again if it has made no progress for this long.
STALLED_AFTER = dt.timedelta(seconds=10)
# While a fan-out is running, a link writes a new `next_look_at` only if the sweep's check is due in
# less than this time. Most links therefore write nothing to SQL.
_POSTPONE_BELOW = dt.timedelta(seconds=5)

_COLUMNS = (
    Fanout.author_id,
    Fanout.generation,
    Fanout.state,
    Fanout.followers,
    Fanout.lane_bounds,
    Fanout.next_look_at,
    db_time().label("now"),
)
_ROW = select(*_COLUMNS).where(Fanout.post_id == bindparam("post"))


def run_link(stores: Stores, enqueue: Enqueue, post_id: int, generation: int, cursor: str) -> None:
    """Deliver one batch from `cursor`, then enqueue the next link or write `done`.

    If the fan-out is done, or its row was deleted, the link does nothing.

    A link of an older generation delivers its batch and enqueues nothing, because the newer link
    goes on. So a long queue makes progress even after the sweep has sent links again. If the lanes
    of a large fan-out are not chosen yet, an older link does nothing.
    """
    with stores.usage.timed("link") as work:
        work.size = _run_link(stores, enqueue, post_id, generation, cursor)


def _run_link(stores: Stores, enqueue: Enqueue, post_id: int, generation: int, cursor: str) -> int:
    """Run a link. Returns the number of followers in its batch."""
    with stores.sql.reading() as connection:
        row = connection.execute(_ROW, {"post": post_id}).first()
    if row is None or row.state == "done":
        return 0
    is_current = generation >= row.generation
    # The bounds are chosen once. A later change of the batch size does not change them.
    bounds = row.lane_bounds
    if bounds is None and lanes.count(row.followers, stores.limits.fanout_batch) == 1:
        bounds = []
    is_postponed = (
        row.state == "running"
        and row.next_look_at is not None
        and _POSTPONE_BELOW < row.next_look_at - row.now <= STALLED_AFTER
    )
    if bounds is None and is_current:
        bounds = _divide(stores, enqueue, post_id, generation, row)
        is_postponed = True
    if bounds is None:
        return 0
    delivered, left = _run(stores, post_id, row.author_id, bounds, cursor, row.now)
    if left and is_current:
        if not is_postponed:
            _note_progress(stores, post_id, row.now)
        for each in left:
            enqueue(post_id, generation, each, row.followers)
    return delivered


def _divide(
    stores: Stores, enqueue: Enqueue, post_id: int, generation: int, row: Row[*tuple[Any, ...]]
) -> list[int] | None:
    """Choose the bounds of the lanes and enqueue the first link of every lane but the first.

    The link that calls this is the first link of the first lane. Returns None if another link has
    chosen the bounds, or if the fan-out is done. If the undivided chain has delivered a batch
    already, it stays undivided and the bounds are `[]`. This happens if the batch size was larger
    when the chain began.
    """
    [whole] = done.progress(stores, {post_id: ()}, {})[post_id]
    count = 1 if whole.batches else lanes.count(row.followers, stores.limits.fanout_batch)
    with stores.sql.reading() as connection:
        bounds = followers.dividing(connection, row.author_id, row.followers, count)
    choose = (
        update(Fanout)
        .where(Fanout.post_id == post_id, Fanout.lane_bounds.is_(None), Fanout.state != "done")
        .values(lane_bounds=bounds, **_under_way(row.now))
    )
    with stores.sql.writing() as connection:
        if connection.execute(choose).rowcount == 0:
            return None
    for lane in lanes.between(bounds)[1:]:
        enqueue(post_id, generation, lane.start, row.followers)
    return bounds


def _run(
    stores: Stores, post_id: int, author: int, bounds: list[int], cursor: str, started: dt.datetime
) -> tuple[int, list[str]]:
    """Deliver a batch. Returns its followers, and the cursors of the links to enqueue next.

    The list is empty if the lane has reached its end. The last lane that reaches its end writes
    `done`. If all lanes are at END and `done` is missing, the sweep sends a link with cursor END.
    This link delivers nothing and calls `done.write`.
    """
    if cursor == END:
        return 0, done.write(stores, {post_id: bounds}, started, {})[post_id]
    lane = lanes.at(bounds, cursor)
    delivered, reached = _deliver_batch(stores, post_id, author, lane, cursor)
    at = earliest(reached.values())
    if at != END:
        return delivered, [at]
    touched: dict[int, Collection[int]] = {} if bounds else {post_id: reached}
    left = done.write(stores, {post_id: bounds}, started, touched)[post_id]
    return delivered, [each for each in left if lanes.at(bounds, each) == lane]


def _deliver_batch(
    stores: Stores, post_id: int, author: int, lane: Lane, cursor: str
) -> tuple[int, dict[int, str]]:
    """Deliver one batch.

    Starts at `cursor`. If Redis has another cursor, starts again from that one. Returns the number
    of followers, and the cursor reached in each bucket that the batch touches.
    """
    reached, delivered = dict[int, str](), 0
    while cursor != END:
        batch = _read_batch(stores, author, lane, cursor)
        size = slices.size_now(post_id, stores.limits.fanout_slice)
        parts = slices.cut(batch, lane, stores.keys, author, reached, size)
        reached |= _deliver(stores, post_id, author, parts, lane)
        delivered += len(batch.followers)
        at = earliest(reached.values())
        if at == batch.end:
            _log.info("fanout.batch_delivered", post_id=post_id, start=cursor, end=at)
            break
        cursor = at
    return delivered, reached


def _deliver(
    stores: Stores, post_id: int, author: int, parts: Sequence[Slice], lane: Lane
) -> dict[int, str]:
    """Deliver slices and return the cursor reached in each bucket.

    If the post is no longer young (`slices.is_young`), each slice is a round trip of its own. A
    slice is skipped if its bucket has reached another cursor than the slice's start.
    """
    if slices.is_young(post_id):
        return delivery.deliver(stores, post_id, author, parts, lane)
    reached: dict[int, str] = {}
    for part in parts:
        if reached.get(part.bucket, part.start) == part.start:
            reached |= delivery.deliver(stores, post_id, author, [part], lane)
    return reached


def _read_batch(stores: Stores, author: int, lane: Lane, cursor: str) -> Batch:
    count = stores.limits.fanout_batch
    with stores.sql.reading() as connection:
        ids = followers.batch(stores, connection, author, int(cursor), count + 1, upto=lane.last)
    return Batch(cursor, END if len(ids) <= count else ids[count - 1], ids[:count])


def _note_progress(stores: Stores, post_id: int, started: dt.datetime) -> None:
    with stores.sql.writing() as connection:
        connection.execute(
            update(Fanout)
            .where(Fanout.post_id == post_id, Fanout.state != "done")
            .values(_under_way(started))
        )


def _under_way(started: dt.datetime) -> dict[str, Any]:
    return {
        "state": "running",
        "stalls": 0,
        "started_at": func.coalesce(Fanout.started_at, started),
        "next_look_at": db_time(STALLED_AFTER),
    }
