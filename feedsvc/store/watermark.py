"""The watermark: the id at or below which no post becomes visible any more.

Ids are drawn in ascending order, but uploads commit in any order. A committed post may also reach
its list late. So a post may become visible below a post that a client has seen, but never at or
below the watermark. The watermark is not a time, because a clock says nothing about a commit.

An id is decided once its upload has committed or was rolled back. A process looks at the database
to find decided ids. A look reads the highest committed id *H* in one snapshot, and then takes a
transaction number. An upload has a transaction number before it draws its id, because it locks its
author's row first.

- An upload that draws its id after the snapshot draws an id above *H*.
- An upload that drew its id before the snapshot has a lower transaction number than the look.

So all ids up to *H* are decided once all transactions with lower numbers than the look's have
ended. The look itself may show that they have, or a later look.

The upper bound of the snapshot cannot replace the look's number. It is one above the highest number
of a transaction that has *ended*. Open transactions may have this number or higher ones.

A decided post may wait in the outbox: it is committed, and not on its list yet. The watermark stays
below every such post. SQLite has one writer at a time, so every look decides all ids up to *H*.

A watermark that was true stays true. Each process has its own watermark. It takes over a higher
watermark of another process from Redis.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from feedsvc.errors import StoreUnavailable
from feedsvc.forks import call_in_child
from feedsvc.store.redis import post_ids
from feedsvc.store.sql.tables import OutboxRow, Post

if TYPE_CHECKING:
    from sqlalchemy import Row

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.sql.database import Database

# A process looks at most once a second. So a cursor lists the ids of the last two seconds.
_LOOK_EVERY_SECONDS = 1.0
# A process without a watermark looks up to ten times within 50 ms. Most uploads end within 50 ms.
_FIRST_LOOKS = 10
_BETWEEN_FIRST_LOOKS_SECONDS = 0.005
# In a process without a watermark, a request waits this long for the look of another request.
_WAIT_SECONDS = 0.1
# The kind of the outbox rows of new posts, and the index of the post in their ids.
NEW_POST = "posted"
_POST = 1

_HIGHEST = sa.select(sa.func.max(Post.id)).scalar_subquery()
_UNAPPLIED = (
    sa.select(sa.func.min(sa.cast(OutboxRow.ids[_POST].as_string(), sa.BigInteger)))
    .where(OutboxRow.kind == NEW_POST)
    .scalar_subquery()
)
_ON_SQLITE = sa.select(_HIGHEST.label("highest"), _UNAPPLIED.label("unapplied"))
# Adds the lowest number of an open transaction, the number of the look, and the run of the server.
# PostgreSQL takes the snapshot of a statement before it calls a function, so the number is taken
# after the snapshot. A server in recovery gives no numbers.
_ON_POSTGRESQL = _ON_SQLITE.add_columns(
    sa.literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint").label("oldest"),
    sa.literal_column(
        "CASE WHEN NOT pg_is_in_recovery() THEN pg_current_xact_id()::text::bigint END"
    ).label("number"),
    sa.literal_column("pg_postmaster_start_time()").label("run"),
)


@dataclass
class Watermark:
    """The watermark of one process. It never falls. `value` is None before the first result."""

    value: int | None = None
    _looked_at: float | None = None
    # The look whose highest id is not decided yet.
    _undecided: Row[*tuple[Any, ...]] | None = None
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Give a forked process a lock of its own. The values of the parent stay true."""
        call_in_child(self._forget_parent)

    def _forget_parent(self) -> None:
        self._lock = Lock()

    def rise(self, sql: Database, redis: Redis) -> bool:
        """Look at the database, at most once a second.

        Without a watermark, also wait for the look of another request. Returns whether a look has
        ended. Call this before the read of a page. Then the page has every visible post up to
        `value`. If a store is down, the watermark does not change.
        """
        is_known = self.value is not None
        if is_known and not self._is_due():
            return False
        if not self._lock.acquire(timeout=0 if is_known else _WAIT_SECONDS):
            return False
        try:
            if not self._is_due():
                # The look of another request has ended meanwhile.
                return not is_known and self.value is not None
            self._looked_at = time.monotonic()
            with suppress(StoreUnavailable):
                self._look(sql)
                self._share(redis)
                self._look_until_something_is_known(sql)
        finally:
            self._lock.release()
        return True

    def _is_due(self) -> bool:
        return self._looked_at is None or time.monotonic() - self._looked_at >= _LOOK_EVERY_SECONDS

    def _look(self, sql: Database) -> None:
        with sql.reading() as connection:
            look = connection.execute(_ON_SQLITE if sql.is_sqlite else _ON_POSTGRESQL).one()
        decided = (look.highest or 0) if sql.is_sqlite else self._decided_by(look)
        if decided is not None:
            self._raise_to(decided if look.unapplied is None else min(decided, look.unapplied - 1))

    def _decided_by(self, look: Row[*tuple[Any, ...]]) -> int | None:
        """Return the id up to which a look at PostgreSQL shows all ids decided, or None."""
        if look.number is None:
            return None
        before = self._undecided
        # A restarted server, or its successor, may number transactions anew and have lost commits.
        if before is not None and (before.run != look.run or before.number >= look.number):
            before = None
        for each in (look, before):
            if each is not None and look.oldest >= each.number:
                self._undecided = None if each is look else look
                return each.highest or 0
        self._undecided = before or look
        return None

    def _share(self, redis: Redis) -> None:
        """Record the watermark in Redis, and take a higher one of another process."""
        # A page needs no write, so a refused write is no error.
        with suppress(StoreUnavailable):
            shared = post_ids.raise_watermark(redis, self.value or 0)
            if shared:
                self._raise_to(shared)

    def _look_until_something_is_known(self, sql: Database) -> None:
        for _ in range(_FIRST_LOOKS):
            if self.value is not None or self._undecided is None:
                return
            time.sleep(_BETWEEN_FIRST_LOOKS_SECONDS)
            self._look(sql)

    def _raise_to(self, watermark: int) -> None:
        self.value = watermark if self.value is None else max(self.value, watermark)
