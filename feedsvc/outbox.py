"""What a change of the truth does to the views: written down in its transaction, applied after its commit, swept after a crash.

Every effect is idempotent, and deletes views rather than edit them (a put onto a celebrity list apart). An answer leaves only
after the effects are applied; so does the answer to a repeated request that changed nothing.
"""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import bindparam, delete, insert, select

from feedsvc.cache import celebrity_lists, post_bodies
from feedsvc.errors import StoreUnavailable
from feedsvc.store.redis import keys
from feedsvc.store.redis.client import UNAVAILABLE, throw_everything_away
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores

_log = structlog.get_logger()

# Younger changes are most likely being applied by the process that made them.
_GRACE = dt.timedelta(seconds=1)
_SWEEP_ROWS = 1_000

_WRITTEN_DOWN = insert(OutboxRow).returning(OutboxRow.id)
_CROSSED_OUT = delete(OutboxRow).where(OutboxRow.id.in_(bindparam("changes", expanding=True)))
_DUE = (
    select(OutboxRow.id, OutboxRow.kind, OutboxRow.ids)
    .where(OutboxRow.made_at < bindparam("before"), OutboxRow.id > bindparam("after"))
    .order_by(OutboxRow.id)
    .limit(_SWEEP_ROWS)
)


@dataclass
class Changing:
    """A transaction that changes the truth, and what it owes to the views."""

    connection: Connection
    owed: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)

    def owes(self, kind: str, *ids: int) -> None:
        """Note an effect of `EFFECTS`, to be applied after the commit, whether or not a row has changed."""
        assert kind in EFFECTS, kind
        self.owed.append((kind, ids))


@dataclass(frozen=True)
class Pending:
    """What is committed and may not hold in Redis yet."""

    ids: frozenset[int]
    concerns_all: bool

    def concerns(self, *ids: int) -> bool:
        """Whether any of these accounts and posts is among what was changed."""
        return self.concerns_all or not self.ids.isdisjoint(ids)

    def and_also(self, other: Pending) -> Pending:
        """What is pending here or there."""
        return Pending(self.ids | other.ids, self.concerns_all or other.concerns_all)


def pending(stores: Stores) -> Pending:
    """The changes whose effects are being applied now, or were left owing by a crash."""
    with stores.sql.reading() as connection:
        noted = list(connection.scalars(select(OutboxRow.ids)))
    return Pending(frozenset(ident for ids in noted for ident in ids), concerns_all=[] in noted)


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
    """Apply the outbox rows that a crash left behind. Returns the number of rows applied.

    Keeps a row that cannot be applied, logs its id once, and goes on. Raises if a store is down.
    """
    due = {"before": now() - _GRACE, "after": 0}
    applied = 0
    while rows := _due(stores, due):
        applied += _apply_each(stores, rows)
        due["after"] = rows[-1].id
    if applied:
        _log.warning("changes.swept", changes=applied)
    return applied


def settle(stores: Stores, account: int) -> None:
    """Apply the outbox rows of an account that is being deleted. Keeps rows that cannot be applied. Raises if a store is down."""
    with stores.sql.reading() as connection:
        rows = [
            row
            for row in connection.execute(select(OutboxRow.id, OutboxRow.kind, OutboxRow.ids))
            if row.ids[:1] == [account]
        ]
    _apply_each(stores, rows)


def _due(stores: Stores, due: dict[str, Any]) -> Sequence[Row[int, str, list[int]]]:
    with stores.sql.reading() as connection:
        return connection.execute(_DUE, due).all()


def _apply_each(stores: Stores, rows: Sequence[Row[int, str, list[int]]]) -> int:
    """Apply rows one by one and remove those that were applied. Returns their number."""
    applied = []
    try:
        for row in rows:
            if _apply(stores, row):
                applied.append(row.id)  # noqa: PERF401 -- the rows applied so far are removed even if a store goes down
    finally:
        _cross_out(stores, applied)
    return len(applied)


def _apply(stores: Stores, row: Row[int, str, list[int]]) -> bool:
    """Apply one row; False if that is impossible, for instance because a newer version of the service wrote the row."""
    try:
        _REPEATS.get(row.kind, EFFECTS.get(row.kind, _unknown_kind))(stores, *row.ids)
    except (*UNAVAILABLE, StoreUnavailable):
        raise
    except Exception as error:  # noqa: BLE001 -- one row must not stop the others, whatever is wrong with it
        if row.id not in stores.unappliable_changes:
            stores.unappliable_changes.add(row.id)
            _log.error("changes.not_applied", change_id=row.id, kind=row.kind, error=repr(error))
        return False
    return True


def _unknown_kind(_stores: Stores, *_ids: int) -> None:
    raise LookupError("this version of the service does not know the kind")


def _write_down(change: Changing) -> list[int]:
    if not change.owed:
        return []
    rows = [{"kind": kind, "ids": list(ids), "made_at": now()} for kind, ids in change.owed]
    return list(change.connection.scalars(_WRITTEN_DOWN, rows))


def _cross_out(stores: Stores, rows: list[int]) -> None:
    if rows:
        with stores.sql.writing() as connection:
            connection.execute(_CROSSED_OUT, {"changes": rows})


def _relations_changed(stores: Stores, *accounts: int) -> None:
    stores.redis.delete(*map(stores.keys.relations, accounts))


def _followed(stores: Stores, *followers: int) -> None:
    # The rebuild is the backfill: it brings the old posts of whoever is followed now.
    stores.redis.delete(
        *map(stores.keys.homefeed, followers), *map(stores.keys.relations, followers)
    )


def _posted(stores: Stores, author: int, post_id: int) -> None:
    _is_a_post(stores, post_id)
    celebrity_lists.put(stores, author, post_id)


def _posted_again(stores: Stores, _author: int, post_id: int) -> None:
    _is_a_post(stores, post_id)
    celebrity_lists.put_listed(stores, [post_id])


def _is_a_post(stores: Stores, post_id: int) -> None:
    # Somebody may have asked for the id before it was a post, and have been told, and stored, that there is none.
    stores.redis.delete(keys.post(post_id))


def _post_edited(stores: Stores, *post_ids: int) -> None:
    post_bodies.forget(stores, post_ids)


def _post_deleted(stores: Stores, author: int, *post_ids: int) -> None:
    _post_edited(stores, *post_ids)
    celebrity_lists.take_off(stores, dict.fromkeys(post_ids, author))


def _everything_is_cold(stores: Stores) -> None:
    throw_everything_away(stores.redis)


EFFECTS: dict[str, Callable[..., None]] = {
    "posted": _posted,
    "posted again": _posted_again,
    "post edited": _post_edited,
    "post deleted": _post_deleted,
    "followed": _followed,
    "relations": _relations_changed,
    "flush": _everything_is_cold,
}

# What the sweep does instead, because time has passed since.
_REPEATS: dict[str, Callable[..., None]] = {"posted": _posted_again}
