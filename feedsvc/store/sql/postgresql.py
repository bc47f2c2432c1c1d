"""Connections to PostgreSQL that never wait for ever, also through PgBouncer in transaction mode.

PgBouncer gives each transaction another server connection. So no session is set up: there is no
`SET` outside a transaction and no start-up parameter `options`. Statements are prepared only on a
direct connection.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import capabilities
from psycopg.pq import TransactionStatus
from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg.abc import RV, PQGen
    from sqlalchemy import Connection, Engine

    from feedsvc.settings import Settings
    from feedsvc.store.bulkhead import Patience

# The empty statement that tests a pooled connection, and BEGIN, need no work of the server.
_GREETING_SECONDS = 2.0
_CANCEL_SECONDS = 0.5
_PREPARE = "prepare_threshold"

# Compilation (jit) takes 200 ms for a query that runs for 5 ms. PostgreSQL compiles it because the
# estimated cost is that of reading the posts of every followee. The isolation level is named,
# because a database may have another default. Neither makes a read-only database writable.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL jit = off"


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server leaves a statement without an answer too long.

    The kernel's limits do not see a server that hangs, because its kernel acknowledges packets.
    """

    patience: Patience

    def wait(self, gen: PQGen[RV], *how: Any, **more: Any) -> RV:
        """Wait for an answer. Raises `OperationalError`, and closes, when it takes too long."""
        limit = self.patience.seconds
        if self.pgconn.transaction_status == TransactionStatus.IDLE:
            limit = min(limit, _GREETING_SECONDS)
        return super().wait(self._within(gen, limit), *how, **more)

    def _within(self, gen: PQGen[RV], limit: float) -> Generator[Any, Any, RV]:
        """Run the driver's generator. The driver resumes it every 0.1 s while nothing arrives."""
        began = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and self.patience.is_over(began, limit):
                    self._give_up(began, limit)
                wanted = gen.send(ready)
        except StopIteration as result:
            return result.value  # type: ignore[no-any-return]

    def _give_up(self, began: float, limit: float) -> None:
        waited = time.monotonic() - began
        if waited > limit > _GREETING_SECONDS:
            self._cancel()
        self.close()
        raise psycopg.OperationalError(f"no answer from the server for {waited:.1f} s")

    def _cancel(self) -> None:
        """Ask the server to end the statement. A server that hangs is not asked for long."""
        if capabilities.has_cancel_safe():
            try:
                self.cancel_safe(timeout=_CANCEL_SECONDS)
            except psycopg.Error:
                return


def prepare(engine: Engine, settings: Settings, patience: Patience) -> None:
    """Make the engine's connections patient ones."""
    arguments = _arguments(settings)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, positional: Any, named: Any) -> PatientConnection:
        return _connect(patience, positional, {**arguments, **named})

    event.listen(engine, "begin", _begin)


def _arguments(settings: Settings) -> dict[str, Any]:
    """Return the driver's arguments. What the URL names wins over them."""
    silence = settings.database_silence_seconds
    return {
        "autocommit": True,  # the driver adds no BEGIN: SQLAlchemy sends the only one
        "client_encoding": "utf8",
        "connect_timeout": settings.database_connect_seconds,
        "keepalives_idle": max(1, silence // 2),
        "keepalives_interval": max(1, silence // 10),
        "keepalives_count": 5,
        "tcp_user_timeout": silence * 1000,
    }


def _connect(patience: Patience, positional: Any, named: dict[str, Any]) -> PatientConnection:
    if _PREPARE in named:  # the URL has it, as text
        named = {**named, _PREPARE: int(named[_PREPARE])}
    connection = PatientConnection.connect(*positional, **named)
    connection.patience = patience
    # A pooler shows its clients a process of its own making, and passes the statement on.
    pid = connection.execute("SELECT pg_backend_pid()").fetchone()
    if pid != (connection.info.backend_pid,):
        connection.prepare_threshold = None
    return connection


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(_BEGIN)
