"""One link of a fan-out's chain: a batch of followers, delivered in slices; then the next link, or done.

A link may run twice, late, or beside another of the same post: the cursor in Redis moves only in the step that pushes, and a link
that finds it elsewhere goes on from there. The fan-out of a large account is several chains, one for each lane.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from sqlalchemy import bindparam, func, select, update

from feedsvc.fanout import done, lanes, pace, slices
from feedsvc.fanout.slices import Batch
from feedsvc.graph import followers
from feedsvc.store.redis import delivery
from feedsvc.store.redis.delivery import END, earliest
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Row

    from feedsvc.store import Stores
    from feedsvc.store.redis.delivery import Lane, Slice

_log = structlog.get_logger()

# A chain that has not moved for so long is looked at by the sweep.
LOOK_AFTER = dt.timedelta(seconds=10)
# While the look is further off than this, a link that moves need not put it off again: a write less for most links.
_LOOK_IS_NEAR = dt.timedelta(seconds=5)

_COLUMNS = (
    Fanout.author_id,
    Fanout.generation,
    Fanout.state,
    Fanout.followers,
    Fanout.lane_bounds,
    Fanout.next_look_at,
)
_ROW = select(*_COLUMNS).where(Fanout.post_id == bindparam("post"))


class Enqueue(Protocol):
    """Sends the link of a fan-out that starts at a cursor to the workers."""

    def __call__(self, post_id: int, generation: int, cursor: str, followers: int) -> None:
        """Raises what the broker raises when it is down."""


def run_link(stores: Stores, enqueue: Enqueue, post_id: int, generation: int, cursor: str) -> None:
    """Deliver one batch from `cursor`, then enqueue the next link or write `done`. A fan-out that is done, or gone, is a success.

    A link of an older generation still delivers its batch, so that a long queue makes headway whatever the sweep sent after it,
    but enqueues nothing: the younger one carries on. Nor does it divide a fan-out into lanes.
    """
    started = now()
    row = _read(stores, post_id)
    if row is None or row.state == "done":
        return
    is_current = generation >= row.generation
    bounds = row.lane_bounds  # drawn for good, also if the size of a batch was changed since
    if bounds is None and lanes.count(row.followers, stores.limits.fanout_batch) == 1:
        bounds = []
    is_noted = (
        row.state == "running"
        and row.next_look_at is not None
        and row.next_look_at - now() > _LOOK_IS_NEAR
    )
    if bounds is None and is_current:
        bounds = _divide(stores, enqueue, post_id, generation, row)
        is_noted = True
    if bounds is None:
        return
    left = _run(stores, post_id, row.author_id, bounds, cursor, started)
    if left and is_current:
        if not is_noted:
            _note_progress(stores, post_id, started)
        for each in left:
            enqueue(post_id, generation, each, row.followers)


def _read(stores: Stores, post_id: int) -> Row[*tuple[Any, ...]] | None:
    with stores.sql.reading() as connection:
        found: Row[*tuple[Any, ...]] | None = connection.execute(_ROW, {"post": post_id}).first()
        return found


def _divide(
    stores: Stores, enqueue: Enqueue, post_id: int, generation: int, row: Row[*tuple[Any, ...]]
) -> list[int] | None:
    """Draw the bounds of the lanes and send the first link of each but the first, whose this one is; None if another link did.

    A chain that began undivided, when batches were larger, stays so.
    """
    [whole] = done.progress(stores, {post_id: ()}, {})[post_id]
    count = 1 if whole.batches else lanes.count(row.followers, stores.limits.fanout_batch)
    with stores.sql.reading() as connection:
        bounds = followers.dividing(connection, row.author_id, row.followers, count)
    drawn = update(Fanout).where(
        Fanout.post_id == post_id, Fanout.lane_bounds.is_(None), Fanout.state != "done"
    )
    with stores.sql.writing() as connection:
        is_first = (
            connection.execute(drawn.values(lane_bounds=bounds, **_under_way(now()))).rowcount == 1
        )
    if not is_first:
        return None
    for lane in lanes.between(bounds)[1:]:
        enqueue(post_id, generation, lane.start, row.followers)
    return bounds


def _run(
    stores: Stores, post_id: int, author: int, bounds: list[int], cursor: str, started: dt.datetime
) -> list[str]:
    """Deliver a batch; returns where to go on. A lane that is at its end goes on nowhere, and the last of them writes `done`."""
    touched: dict[int, Collection[int]] = {}
    if cursor != END:
        lane = lanes.at(bounds, cursor)
        reached = _deliver_batch(stores, post_id, author, lane, cursor)
        at = earliest(reached.values())
        if at != END:
            return [at]
        touched = {} if bounds else {post_id: reached}
    left = done.write(stores, {post_id: bounds}, started, touched)[post_id]
    if cursor != END:
        left = [each for each in left if lanes.at(bounds, each) == lane]
    return left


def _deliver_batch(
    stores: Stores, post_id: int, author: int, lane: Lane, cursor: str
) -> dict[int, str]:
    """Deliver one whole batch, from wherever the lane really is; returns the cursor reached in each bucket that it touches."""
    reached: dict[int, str] = {}
    while cursor != END:
        batch = _read_batch(stores, author, lane, cursor)
        parts = slices.slices(
            batch,
            lane,
            stores.keys,
            author,
            reached,
            pace.slice_of(post_id, stores.limits.fanout_slice),
        )
        reached |= _deliver(stores, post_id, author, parts, lane)
        at = earliest(reached.values())
        if at == batch.end:
            _log.info("fanout.batch_delivered", post_id=post_id, start=cursor, end=at)
            break
        cursor = at
    return reached


def _deliver(
    stores: Stores, post_id: int, author: int, parts: Sequence[Slice], lane: Lane
) -> dict[int, str]:
    """What `delivery.deliver` does; slice by slice, if the post has waited, as far as each bucket is where they start."""
    if pace.is_young(post_id):
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
        "next_look_at": now() + LOOK_AFTER,
    }
