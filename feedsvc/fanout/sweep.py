"""The sweep, which runs every second and repairs the damage of crashes and lost messages.

It applies outbox rows, re-drives fan-outs that stalled, and takes pushed posts off their celebrity
lists. Any number of sweeps may run at once: a fan-out is claimed by compare-and-set, and every
other step may happen twice.
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
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Row, Select

    from feedsvc.fanout.queues import Enqueue
    from feedsvc.store import Stores

_log = structlog.get_logger()

_ROWS = 1_000

# A sweep re-drives fan-outs, the longest overdue first, until this many messages are in the queues.
# A few that stalled go on within 30 s, the first check included. Into a long queue the sweep sends
# nothing: most likely no message was lost, and repeats that workers cannot keep up with would never
# end (docs/decisions/0005).
QUEUED = 200
# How long a re-driven fan-out has until it is re-driven again.
_REDRIVE_AGAIN_AFTER = dt.timedelta(seconds=15)

_COLUMNS = (
    Fanout.post_id,
    Fanout.author_id,
    Fanout.generation,
    Fanout.followers,
    Fanout.lane_bounds,
)
_DUE = (
    select(*_COLUMNS)
    .where(Fanout.next_look_at <= bindparam("now"))
    .order_by(Fanout.next_look_at)
    .limit(bindparam("count"))
)
_STALLED = _DUE.where(Fanout.state != "done")
_FINISHED = _DUE.where(Fanout.state == "done")
_MARK_TAKEN_OFF = (
    update(Fanout)
    .where(Fanout.post_id.in_(bindparam("posts", expanding=True)), Fanout.state == "done")
    .values(next_look_at=None)
)


@dataclass(frozen=True)
class Swept:
    """How many outbox rows, fan-outs and celebrity-list posts one sweep has dealt with."""

    changes: int
    redriven: int
    taken_off: int


def sweep(stores: Stores, enqueue: Enqueue, queued: Callable[[], int] = lambda: 0) -> Swept:
    """Sweep once. `queued` returns how many links are waiting for a worker already."""
    applied = outbox.sweep(stores)
    stalled = _due(stores, _STALLED, QUEUED)
    room = max(0, QUEUED - queued()) if stalled else 0
    redriven = sum(_redrive(stores, enqueue, row) for row in stalled[:room])
    swept = Swept(applied, redriven, _take_off(stores))
    if any(asdict(swept).values()):
        _log.info("fanout.swept", **asdict(swept))
    return swept


def _due(
    stores: Stores, which: Select[*tuple[Any, ...]], count: int
) -> list[Row[*tuple[Any, ...]]]:
    with stores.sql.reading() as connection:
        return list(connection.execute(which, {"now": now(), "count": count}))


def _redrive(stores: Stores, enqueue: Enqueue, row: Row[*tuple[Any, ...]]) -> bool:
    """Claim a stalled fan-out and enqueue a link for each of its lanes.

    Returns False if another sweep claimed it first, or if its chain went on meanwhile.
    """
    generation = row.generation + 1
    claim = (
        update(Fanout)
        .where(
            Fanout.post_id == row.post_id,
            Fanout.generation == row.generation,
            Fanout.next_look_at <= now(),
            Fanout.state != "done",
        )
        .values(
            generation=generation,
            stalls=Fanout.stalls + 1,
            next_look_at=now() + _REDRIVE_AGAIN_AFTER,
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
    """Take the pushed posts that are due off their celebrity lists. Returns how many there were."""
    count = 0
    while finished := _due(stores, _FINISHED, _ROWS):
        celebrity_lists.take_off(stores, {row.post_id: row.author_id for row in finished})
        with stores.sql.writing() as connection:
            connection.execute(_MARK_TAKEN_OFF, {"posts": [row.post_id for row in finished]})
        count += len(finished)
    return count
