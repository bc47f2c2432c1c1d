"""Connect to PostgreSQL with a limit on every wait, also through PgBouncer in transaction mode.

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

# Outside a transaction the service sends BEGIN, which needs no work of the server.
_BEGIN_SECONDS = 2.0
_CANCEL_SECONDS = 0.5
_PREPARE = "prepare_threshold"

# jit: PostgreSQL overestimates the cost of a feed's query, and would compile it. Compilation takes
# 200 ms, and the query 5 ms. Isolation level: a database may have another default. TimeZone: the
# driver reads times in the session's time zone. In Tokyo the last hours of the year 9999 lie in the
# year 10000, which Python cannot represent. None of these makes a read-only database writable.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL jit = off; SET LOCAL TimeZone = 'UTC'"


class AnswerTimeout(psycopg.OperationalError):
    """The server has not answered within the limit."""

    def __init__(self, waited: float) -> None:
        super().__init__(f"no answer from the server for {waited:.1f} s")


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is closed if the server does not answer in time.

    The limits of TCP do not detect a server that hangs, because the server's kernel acknowledges
    packets. Each engine has a subclass with its own `patience`.
    """

    patience: Patience

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        # The driver has its own limit on connecting, which does not know of the bulkhead.
        return _within(cls.patience, super()._connect_gen(conninfo), math.inf)

    def wait(self, gen: PQGen[RV], *how: Any, **more: Any) -> RV:
        """Wait for an answer. Closes the connection and raises `AnswerTimeout` if it is late."""
        is_working = self.pgconn.transaction_status != TransactionStatus.IDLE
        limit = self.patience.seconds if is_working else _BEGIN_SECONDS
        try:
            answer = super().wait(_within(self.patience, gen, limit), *how, **more)
        except AnswerTimeout:
            if is_working:
                self._cancel()
            self.close()
            raise
        self.patience.answered()
        return answer

    def _cancel(self) -> None:
        """Ask the server to end the statement. Give up after 0.5 s."""
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
                raise AnswerTimeout(time.monotonic() - began)
            wanted = gen.send(ready)
    except StopIteration as result:
        return cast("RV", result.value)


def prepare(engine: Engine, settings: Settings, patience: Patience) -> None:
    """Let the engine open connections of the class `PatientConnection`."""
    arguments = _arguments(settings)
    kind = type("PatientConnection", (PatientConnection,), {"patience": patience})

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, positional: Any, named: Any) -> PatientConnection:
        return _connect(kind, positional, {**arguments, **named})

    event.listen(engine, "begin", _begin)


def _arguments(settings: Settings) -> dict[str, Any]:
    """Return the driver's arguments. An argument in the URL takes precedence."""
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
    if _PREPARE in named:  # from the URL, as text
        named = {**named, _PREPARE: int(named[_PREPARE])}
    connection = kind.connect(*positional, **named)
    try:
        # A pooler gives its clients a process number of its own, and passes this statement on to a
        # server. So two different numbers show a pooler, and nothing is prepared through it.
        pid = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    except psycopg.Error:
        connection.close()
        raise
    if pid != (connection.info.backend_pid,):
        connection.prepare_threshold = None
    return connection


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(_BEGIN)
