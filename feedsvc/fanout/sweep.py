"""The sweep: every second it applies what a crash left owing, re-drives fan-outs that stalled, and takes pushed posts off their lists.

Any number of sweeps may run at once: a fan-out is claimed by compare-and-set, and everything else may happen twice.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import delete, select, update

from feedsvc import changes
from feedsvc.fanout import progress
from feedsvc.fanout.chain import LOOK_AFTER
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout, IdempotencyKey
from feedsvc.views import celebrity

if TYPE_CHECKING:
    from sqlalchemy import Row

    from feedsvc.fanout.chain import Enqueue
    from feedsvc.store import Stores

_log = structlog.get_logger()

IDEMPOTENCY_KEPT = dt.timedelta(hours=24)
_ROWS = 1_000
_MOST_DOUBLINGS = 8


@dataclass(frozen=True)
class Swept:
    """What one sweep has done."""

    changes: int
    redriven: int
    taken_off: int


def sweep(stores: Stores, enqueue: Enqueue) -> Swept:
    """Sweep once."""
    applied = changes.sweep(stores)
    due = _due(stores)
    redriven = sum(_redrive(stores, enqueue, row) for row in due if row.state != "done")
    finished = [row for row in due if row.state == "done"]
    _take_off(stores, finished)
    _forget_old_keys(stores)
    swept = Swept(applied, redriven, len(finished))
    if any(asdict(swept).values()):
        _log.info("fanout.swept", **asdict(swept))
    return swept


def _due(stores: Stores) -> list[Row[int, int, str, int, int, int]]:
    columns = (Fanout.post_id, Fanout.author_id, Fanout.state, Fanout.generation, Fanout.stalls, Fanout.followers)
    with stores.sql.reading() as connection:
        due = select(*columns).where(Fanout.next_look_at <= now()).order_by(Fanout.next_look_at).limit(_ROWS)
        return list(connection.execute(due))


def _redrive(stores: Stores, enqueue: Enqueue, row: Row[int, int, str, int, int, int]) -> bool:
    """Claim a stalled fan-out and send a link that goes on from its cursor. False if another sweep, or its chain, was faster."""
    wait = LOOK_AFTER * 2 ** min(row.stalls + 1, _MOST_DOUBLINGS)
    claim = (
        update(Fanout)
        .where(Fanout.post_id == row.post_id, Fanout.generation == row.generation, Fanout.next_look_at <= now(), Fanout.state != "done")
        .values(generation=row.generation + 1, stalls=row.stalls + 1, next_look_at=now() + wait)
    )
    with stores.sql.writing() as connection:
        claimed = connection.execute(claim).rowcount == 1
    if claimed:
        cursor = progress.read(stores.redis, row.post_id).cursor
        _log.warning("fanout.redriven", post_id=row.post_id, generation=row.generation + 1, cursor=cursor)
        enqueue(row.post_id, row.generation + 1, cursor, row.followers)
    return claimed


def _take_off(stores: Stores, finished: list[Row[int, int, str, int, int, int]]) -> None:
    for row in finished:
        celebrity.take_off(stores, row.author_id, row.post_id)
    if finished:
        with stores.sql.writing() as connection:
            settled = update(Fanout).where(Fanout.post_id.in_([row.post_id for row in finished]), Fanout.state == "done")
            connection.execute(settled.values(next_look_at=None))


def _forget_old_keys(stores: Stores) -> None:
    old = IdempotencyKey.made_at < now() - IDEMPOTENCY_KEPT
    with stores.sql.reading() as connection:
        if connection.scalar(select(IdempotencyKey.post_id).where(old).limit(1)) is None:
            return
    with stores.sql.writing() as connection:
        connection.execute(delete(IdempotencyKey).where(old))
