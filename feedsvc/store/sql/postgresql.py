"""Connections to PostgreSQL that never wait for ever, also through PgBouncer in transaction mode.

PgBouncer gives each transaction another server connection. So no session is set up: there is no
`SET` outside a transaction and no start-up parameter `options`. Statements are prepared only on a
direct connection.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg import capabilities
from psycopg.pq import TransactionStatus
from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Self

    from psycopg.abc import RV, PQGen, PQGenConn
    from sqlalchemy import Connection, Engine

    from feedsvc.settings import Settings
    from feedsvc.store.bulkhead import Patience

# The empty statement that tests a pooled connection, and BEGIN, need no work of the server.
_GREETING_SECONDS = 2.0
_CANCEL_SECONDS = 0.5
_PREPARE = "prepare_threshold"

# Compilation (jit) takes 200 ms for a query that runs for 5 ms. PostgreSQL compiles it because the
# estimated cost is that of reading the posts of every followee. The isolation level is named,
# because a database may have another default. Neither makes a read-only database writable. The
# driver reads a time in the session's time zone: in Tokyo the last hours of the year 9999 lie in
# the year 10000, which Python has not.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL jit = off; SET LOCAL TimeZone = 'UTC'"


class NoAnswer(psycopg.OperationalError):
    """The server has left a thread without an answer for too long."""

    def __init__(self, waited: float) -> None:
        super().__init__(f"no answer from the server for {waited:.1f} s")


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server leaves a statement without an answer too long.

    The kernel's limits do not see a server that hangs, because its kernel acknowledges packets.
    Each engine has a subclass with its patience.
    """

    patience: Patience

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        # The driver has its own limit on connecting, which does not know of the bulkhead.
        return _within(cls.patience, super()._connect_gen(conninfo), math.inf)

    def wait(self, gen: PQGen[RV], *how: Any, **more: Any) -> RV:
        """Wait for an answer. Raises `NoAnswer`, and closes, when it takes too long."""
        is_working = self.pgconn.transaction_status != TransactionStatus.IDLE
        limit = self.patience.seconds if is_working else _GREETING_SECONDS
        try:
            answer = super().wait(_within(self.patience, gen, limit), *how, **more)
        except NoAnswer:
            if is_working:
                self._cancel()
            self.close()
            raise
        self.patience.answered()
        return answer

    def _cancel(self) -> None:
        """Ask the server to end the statement, but not for long."""
        if capabilities.has_cancel_safe():
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCEL_SECONDS)


def _within(
    patience: Patience, gen: Generator[Any, Any, RV], limit: float
) -> Generator[Any, Any, RV]:
    """Run a generator of the driver, which resumes it every 0.1 s while nothing arrives."""
    began = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and patience.is_over(began, limit):
                raise NoAnswer(time.monotonic() - began)
            wanted = gen.send(ready)
    except StopIteration as result:
        return cast("RV", result.value)


def prepare(engine: Engine, settings: Settings, patience: Patience) -> None:
    """Make the engine's connections patient ones."""
    arguments = _arguments(settings)
    kind = type("PatientConnection", (PatientConnection,), {"patience": patience})

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, positional: Any, named: Any) -> PatientConnection:
        return _connect(kind, positional, {**arguments, **named})

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


def _connect(
    kind: type[PatientConnection], positional: Any, named: dict[str, Any]
) -> PatientConnection:
    if _PREPARE in named:  # the URL has it, as text
        named = {**named, _PREPARE: int(named[_PREPARE])}
    connection = kind.connect(*positional, **named)
    try:
        # A pooler shows its clients a process of its own making, and passes the statement on.
        pid = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    except psycopg.Error:
        connection.close()
        raise
    if pid != (connection.info.backend_pid,):
        connection.prepare_threshold = None
    return connection


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(_BEGIN)
