"""Sweep: repair, every second, the damage of crashes and lost messages.

A sweep applies outbox rows, sends stalled fan-outs again, and takes pushed posts off their
celebrity lists. Any number of sweeps may run at once. Only one of them can claim a fan-out
(compare-and-set on `generation`). Every other step may run twice without harm.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import bindparam, select, update

from feedsvc import outbox
from feedsvc.cache import celebrity_lists
from feedsvc.fanout import done
from feedsvc.store.redis.delivery import END
from feedsvc.store.redis.keys import LAST_SWEEP
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Row, Select

    from feedsvc.fanout.queues import Enqueue
    from feedsvc.store import Stores

_log = structlog.get_logger()

_ROWS = 1_000
_REMEMBERED_SECONDS = 3_600
# Sweeps run every second. `/readyz` and `feedsvc check` report a sweep that is older than this.
LATE_SECONDS = 30.0

# A sweep sends fan-outs again only while fewer messages than this wait in the queues. It fills up
# the difference with fan-outs, the most overdue first. With a short queue, a fan-out whose link was
# lost goes on within 11 s: `STALLED_AFTER` and one sweep. If 200 messages wait, the sweep sends
# nothing. The missing links are then probably late and not lost, and more messages would only
# lengthen the queue (docs/decisions/0005).
QUEUED = 200
# The sweep sends a fan-out once more if it has made no progress for this long since the last time.
# Together with `STALLED_AFTER`, the second try comes within 27 s, two sweeps included. The contract
# allows 30 s (docs/decisions/0005). No process sets a check further ahead than this.
_SEND_AGAIN_AFTER = dt.timedelta(seconds=15)

_COLUMNS = (
    Fanout.post_id,
    Fanout.author_id,
    Fanout.generation,
    Fanout.followers,
    Fanout.lane_bounds,
)
_DUE = (
    select(*_COLUMNS)
    .where(Fanout.next_look_at <= db_time())
    .order_by(Fanout.next_look_at)
    .limit(bindparam("count"))
)
_STALLED = _DUE.where(Fanout.state != "done")
_FINISHED = _DUE.where(Fanout.state == "done")
_TOO_FAR_AHEAD = Fanout.next_look_at > db_time(_SEND_AGAIN_AFTER)
_ANY_TOO_FAR_AHEAD = select(Fanout.post_id).where(_TOO_FAR_AHEAD).limit(1)
_MAKE_DUE = update(Fanout).where(_TOO_FAR_AHEAD).values(next_look_at=db_time())
_MARK_TAKEN_OFF = (
    update(Fanout)
    .where(Fanout.post_id.in_(bindparam("posts", expanding=True)), Fanout.state == "done")
    .values(next_look_at=None)
)


@dataclass(frozen=True)
class Swept:
    """Counts of one sweep: outbox rows applied, fan-outs sent again, posts taken off."""

    changes: int
    redriven: int
    taken_off: int


def sweep(stores: Stores, enqueue: Enqueue, queued: Callable[[], int] = lambda: 0) -> Swept:
    """Sweep once. `queued` returns the number of fan-out messages that no worker has taken yet."""
    applied = outbox.sweep(stores)
    _make_far_checks_due(stores)
    stalled = _due(stores, _STALLED, QUEUED)
    room = max(0, QUEUED - queued()) if stalled else 0
    sent_again = sum(_send_again(stores, enqueue, row) for row in stalled[:room])
    swept = Swept(applied, sent_again, _take_off(stores))
    stores.redis.set(LAST_SWEEP, 1, ex=_REMEMBERED_SECONDS)
    if any(asdict(swept).values()):
        _log.info("fanout.swept", **asdict(swept))
    return swept


def seconds_since(redis: Any) -> float | None:
    """Return the seconds since the latest sweep of any worker; None after more than an hour.

    The expiry of a key tells them, so only the clock of Redis counts. If that clock is set back,
    the sweep seems younger. `redis` is any client.
    """
    left = redis.ttl(LAST_SWEEP)
    return None if left < 0 else float(max(0, _REMEMBERED_SECONDS - left))


def _due(
    stores: Stores, which: Select[*tuple[Any, ...]], count: int
) -> list[Row[*tuple[Any, ...]]]:
    with stores.sql.reading() as connection:
        return list(connection.execute(which, {"count": count}))


def _make_far_checks_due(stores: Stores) -> None:
    """Make fan-outs due whose next check lies further ahead than any process sets it.

    The clock of the database was set back after that. Without this they would stay pending until
    the clock has caught up.
    """
    with stores.sql.reading() as connection:
        if connection.scalar(_ANY_TOO_FAR_AHEAD) is None:
            return
    with stores.sql.writing() as connection:
        connection.execute(_MAKE_DUE)


def _send_again(stores: Stores, enqueue: Enqueue, row: Row[*tuple[Any, ...]]) -> bool:
    """Claim a stalled fan-out and enqueue a link for each of its lanes.

    Returns False if another sweep claimed the fan-out first, if a link has postponed the check
    meanwhile, or if the fan-out is done.
    """
    generation = row.generation + 1
    claim = (
        update(Fanout)
        .where(
            Fanout.post_id == row.post_id,
            Fanout.generation == row.generation,
            Fanout.next_look_at <= db_time(),
            Fanout.state != "done",
        )
        .values(
            generation=generation,
            stalls=Fanout.stalls + 1,
            next_look_at=db_time(_SEND_AGAIN_AFTER),
        )
    )
    with stores.sql.writing() as connection:
        if connection.execute(claim).rowcount == 0:
            return False
    reached = done.progress(stores, {row.post_id: row.lane_bounds or ()}, {})[row.post_id]
    for cursor in [lane.cursor for lane in reached if lane.cursor != END] or [END]:
        _log.warning("fanout.redriven", post_id=row.post_id, generation=generation, cursor=cursor)
        enqueue(row.post_id, generation, cursor, row.followers)
    return True


def _take_off(stores: Stores) -> int:
    """Take posts off their celebrity lists, `done.TAKE_OFF_AFTER` after the end of their fan-out.

    Returns the number of posts.
    """
    with stores.usage.timed("take-off") as work:
        while finished := _due(stores, _FINISHED, _ROWS):
            celebrity_lists.take_off(stores, {row.post_id: row.author_id for row in finished})
            with stores.sql.writing() as connection:
                connection.execute(_MARK_TAKEN_OFF, {"posts": [row.post_id for row in finished]})
            work.size += len(finished)
    return work.size
