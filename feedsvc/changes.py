"""What a change of the truth does to the views: written down in its transaction, applied after its commit, swept after a crash.

Every effect is idempotent, and deletes views rather than edit them (a put onto a celebrity list apart). An answer leaves only
after the effects are applied; so does the answer to a repeated request that changed nothing.
"""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import delete, insert, select

from feedsvc.store.redis import keys
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Change
from feedsvc.views import celebrity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from feedsvc.store import Stores

_log = structlog.get_logger()

# Younger changes are most likely being applied by the process that made them.
_GRACE = dt.timedelta(seconds=1)
_SWEEP_ROWS = 1_000


@dataclass
class Changing:
    """A transaction that changes the truth, and what it owes to the views."""

    connection: Connection
    owed: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)

    def owes(self, kind: str, *ids: int) -> None:
        """Note an effect of `EFFECTS`, to be applied after the commit, whether or not a row has changed."""
        assert kind in EFFECTS, kind
        self.owed.append((kind, ids))


@contextmanager
def changing(stores: Stores) -> Iterator[Changing]:
    """A writing transaction whose effects on Redis hold when the block is left.

    Redis is asked for a sign of life first: while it is down nothing is changed.
    """
    stores.redis.ping()
    with stores.sql.writing() as connection:
        change = Changing(connection)
        yield change
        rows = _write_down(change)
    for kind, ids in change.owed:
        EFFECTS[kind](stores, *ids)
    _cross_out(stores, rows)


def sweep(stores: Stores) -> int:
    """Apply what a crash has left owing. Returns how many changes that were."""
    due = select(Change.id, Change.kind, Change.ids).where(Change.made_at < now() - _GRACE)
    with stores.sql.reading() as connection:
        rows = connection.execute(due.order_by(Change.id).limit(_SWEEP_ROWS)).all()
    for row in rows:
        _REPEATS.get(row.kind, EFFECTS[row.kind])(stores, *row.ids)
    if rows:
        _cross_out(stores, [row.id for row in rows])
        _log.warning("changes.swept", changes=len(rows))
    return len(rows)


def _write_down(change: Changing) -> list[int]:
    if not change.owed:
        return []
    rows = [{"kind": kind, "ids": list(ids), "made_at": now()} for kind, ids in change.owed]
    return list(change.connection.scalars(insert(Change).returning(Change.id), rows))


def _cross_out(stores: Stores, rows: list[int]) -> None:
    if rows:
        with stores.sql.writing() as connection:
            connection.execute(delete(Change).where(Change.id.in_(rows)))


def _relations_changed(stores: Stores, *accounts: int) -> None:
    stores.redis.delete(*map(keys.relations, accounts))


def _followed(stores: Stores, *followers: int) -> None:
    # The rebuild is the backfill: it brings the old posts of whoever is followed now.
    stores.redis.delete(*map(keys.homefeed, followers), *map(keys.relations, followers))


def _post_edited(stores: Stores, *post_ids: int) -> None:
    if post_ids:
        stores.redis.delete(*map(keys.post, post_ids))


def _post_deleted(stores: Stores, author: int, *post_ids: int) -> None:
    _post_edited(stores, *post_ids)
    for post_id in post_ids:
        celebrity.take_off(stores, author, post_id)


def _everything_is_cold(stores: Stores) -> None:
    stores.redis.flushdb()


EFFECTS: dict[str, Callable[..., None]] = {
    "posted": celebrity.put,
    "posted again": celebrity.put_if_listed,
    "post edited": _post_edited,
    "post deleted": _post_deleted,
    "followed": _followed,
    "relations": _relations_changed,
    "flush": _everything_is_cold,
}

# What the sweep does instead, because time has passed since.
_REPEATS: dict[str, Callable[..., None]] = {"posted": celebrity.put_if_listed}
