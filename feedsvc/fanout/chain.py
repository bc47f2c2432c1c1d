"""One link of a fan-out's chain: a batch of followers, delivered in slices; then the next link, or done.

A link may run twice, late, or beside another of the same post: the cursor in Redis moves only in the step that pushes, and a link
that finds it elsewhere goes on from there.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Protocol

import structlog
from sqlalchemy import func, select, update

from feedsvc.fanout import progress
from feedsvc.graph import followers
from feedsvc.store.redis import lists
from feedsvc.store.redis.lists import END, Slice
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from feedsvc.store import Stores

_log = structlog.get_logger()

# A chain that has not moved for so long is looked at by the sweep.
LOOK_AFTER = dt.timedelta(seconds=10)
# A pushed post stays on the celebrity list a little longer: reads that are under way finish on it.
TAKE_OFF_AFTER = dt.timedelta(seconds=3)


class Enqueue(Protocol):
    """Sends the link of a fan-out that starts at a cursor to the workers."""

    def __call__(self, post_id: int, generation: int, cursor: str, followers: int) -> None:
        """Raises what the broker raises when it is down."""


def run_link(stores: Stores, enqueue: Enqueue, post_id: int, generation: int, cursor: str) -> None:
    """Deliver one batch from `cursor`, then enqueue the next link or write `done`. A fan-out that is done, or gone, is a success.

    A link of an older generation still delivers its batch, so that a long queue makes headway whatever the sweep sent after it,
    but enqueues nothing: the younger one carries on.
    """
    started = now()
    with stores.sql.reading() as connection:
        columns = select(Fanout.author_id, Fanout.generation, Fanout.state, Fanout.followers)
        row = connection.execute(columns.where(Fanout.post_id == post_id)).first()
    if row is None or row.state == "done":
        return
    at = _deliver_batch(stores, post_id, row.author_id, cursor)
    if at == END:
        at = _finish(stores, post_id, started)
    if at != END and generation >= row.generation:
        _note_progress(stores, post_id, started)
        enqueue(post_id, generation, at, row.followers)


def _deliver_batch(stores: Stores, post_id: int, author: int, cursor: str) -> str:
    """Deliver one whole batch, from wherever the fan-out really is; returns the cursor reached."""
    while cursor != END:
        batch = _read_batch(stores, author, cursor)
        at = lists.deliver(stores.redis, post_id, author, batch, stores.limits)
        if at == batch[-1].end:
            _log.info("fanout.batch_delivered", post_id=post_id, start=cursor, end=at)
            return at
        cursor = at
    return END


def _read_batch(stores: Stores, author: int, cursor: str) -> list[Slice]:
    limits = stores.limits
    with stores.sql.reading() as connection:
        ids = followers.batch(stores, connection, author, int(cursor), limits.fanout_batch + 1)
    return list(slices(ids[: limits.fanout_batch], cursor, limits.fanout_slice, last=len(ids) <= limits.fanout_batch))


def slices(ids: Sequence[str], cursor: str, size: int, *, last: bool) -> Iterator[Slice]:
    """Cut a batch of ascending follower ids into slices, each starting where the one before ends; the last batch leads to END."""
    parts = [ids[first : first + size] for first in range(0, len(ids), size)] or [()]
    for number, part in enumerate(parts):
        end = END if last and number == len(parts) - 1 else part[-1]
        yield Slice(cursor, end, part)
        cursor = end


def _note_progress(stores: Stores, post_id: int, started: dt.datetime) -> None:
    values = {"state": "running", "stalls": 0, "started_at": func.coalesce(Fanout.started_at, started), "next_look_at": now() + LOOK_AFTER}
    with stores.sql.writing() as connection:
        connection.execute(update(Fanout).where(Fanout.post_id == post_id, Fanout.state != "done").values(values))


def _finish(stores: Stores, post_id: int, started: dt.datetime) -> str:
    """Write `done`, after a look at the cursor itself, which is returned: a Redis that was lost meanwhile has lost the pushes as well."""
    reached = progress.read(stores.redis, post_id)
    if reached.cursor != END:
        return reached.cursor
    done = {
        "state": "done",
        "followers": reached.delivered + reached.skipped,
        "delivered": reached.delivered,
        "skipped": reached.skipped,
        "batches": reached.batches,
        "started_at": func.coalesce(Fanout.started_at, started),
        "finished_at": now(),
        "next_look_at": now() + TAKE_OFF_AFTER,
    }
    with stores.sql.writing() as connection:
        is_first = connection.execute(update(Fanout).where(Fanout.post_id == post_id, Fanout.state != "done").values(done)).rowcount
        if is_first:
            connection.execute(update(Post).where(Post.id == post_id).values(pushed_at=now()))
    if is_first:
        _log.info("fanout.done", post_id=post_id, delivered=reached.delivered, skipped=reached.skipped, batches=reached.batches)
    return END
