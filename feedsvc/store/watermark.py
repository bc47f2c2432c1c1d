"""The watermark: every post at or below it is committed and on its list, or will never be.

Ids are drawn in ascending order, but uploads commit in any order, and a committed post may get onto
its list late. So a post may become visible below a post that a client has been shown. It becomes
visible above the watermark. The watermark is not a time: a clock says nothing about a commit.

A look reads the highest committed id *H* in one snapshot. Then it takes a transaction number. An
upload locks its author's row before it draws its id, so it has a transaction number by then. An
upload that draws after the look draws above *H*. An upload that drew before has a lower number than
the look. A later look, or this one, may find that all transactions with lower numbers have ended.
Then everything at or below *H* is decided.

The snapshot's own upper bound does not do for the look's number. It is one above the highest number
of a transaction that has *ended*, so open transactions may have that number or higher ones.

Decided posts that wait in the outbox are committed, but not on their list. The watermark stays
below the lowest of them. SQLite has one writer at a time, so there everything is decided.

A watermark once true stays true. Each process keeps its own, and takes a higher one of another
process from Redis.
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

# A process looks at most once a second. So a poll carries the ids of the last two seconds.
_LOOK_EVERY_SECONDS = 1.0
# A process that knows nothing yet looks up to ten times within 50 ms. Most uploads end within that.
_FIRST_LOOKS = 10
_BETWEEN_FIRST_LOOKS_SECONDS = 0.005
# A request that knows nothing yet waits for another request's look for this long.
_WAIT_SECONDS = 0.1
# The outbox rows of new posts: their kind, and the place of the post in their ids.
NEW_POST = "posted"
_POST = 1

_HIGHEST = sa.select(sa.func.max(Post.id)).scalar_subquery()
_UNAPPLIED = (
    sa.select(sa.func.min(sa.cast(OutboxRow.ids[_POST].as_string(), sa.BigInteger)))
    .where(OutboxRow.kind == NEW_POST)
    .scalar_subquery()
)
_ON_SQLITE = sa.select(_HIGHEST.label("highest"), _UNAPPLIED.label("unapplied"))
# The lowest number of an open transaction, the number of the look, and the run of the server.
# PostgreSQL takes the snapshot of a statement before it calls a function. A server in recovery
# gives no numbers.
_ON_POSTGRESQL = _ON_SQLITE.add_columns(
    sa.literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint").label("oldest"),
    sa.literal_column(
        "CASE WHEN NOT pg_is_in_recovery() THEN pg_current_xact_id()::text::bigint END"
    ).label("number"),
    sa.literal_column("pg_postmaster_start_time()").label("run"),
)


@dataclass
class Watermark:
    """The watermark of one process. It never falls. `value` is None until something is known."""

    value: int | None = None
    _looked_at: float | None = None
    # The look whose highest id is not decided yet.
    _undecided: Row[*tuple[Any, ...]] | None = None
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Give a forked process a lock of its own. What the parent knows stays true."""
        call_in_child(self._forget_parent)

    def _forget_parent(self) -> None:
        self._lock = Lock()

    def rise(self, sql: Database, redis: Redis) -> bool:
        """Look at the database, at most once a second. Returns whether it looked.

        Call it before reading anything else: a read after it finds every post at or below `value`.
        If a store is down, the watermark stays where it is.
        """
        wait_seconds = _WAIT_SECONDS if self.value is None else 0
        if not self._is_due() or not self._lock.acquire(timeout=wait_seconds):
            return False
        try:
            if not self._is_due():
                return False
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
        """Return the id at or below which a look at PostgreSQL shows everything decided.

        Returns None if it shows nothing.
        """
        if look.number is None:
            return None
        before = self._undecided
        # Another run of the server numbers transactions anew, and may have lost commits.
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
        # A page needs no write, so a server that refuses it is no error.
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
