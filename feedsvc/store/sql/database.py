"""The one way to the database: `reading()` and `writing()`, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, func, literal_column, select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from feedsvc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection, Engine, Select

_BUSY_SECONDS = 15
_WRITING = {"feedsvc_writing": True}


class Database:
    """An engine with the settings that the service relies on. Processes that fork make their own."""

    def __init__(self, url: str | URL) -> None:
        """Connects to nothing yet."""
        self.engine = make_engine(
            url, pool_pre_ping=True, pool_timeout=5, pool_size=5, max_overflow=20
        )
        self.is_sqlite = self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A new transaction that changes nothing; what was committed before it began, it sees."""
        with _unavailable_is_said(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, committed at the end of the block; on SQLite it holds the write lock from its start."""
        with (
            _unavailable_is_said(),
            self.engine.connect().execution_options(**_WRITING) as connection,
            connection.begin(),
        ):
            yield connection

    def one_at_a_time(self, connection: Connection, lock: int) -> None:
        """Wait until no other transaction holds this lock, and hold it to the end of this one. On SQLite every writer does so anyway."""
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def now() -> dt.datetime:
    """The time, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def clock_ms(database: Database, connection: Connection) -> int:
    """Return the database's clock in milliseconds since 1970. All processes share this clock."""
    ms = connection.scalar(_clock_ms(database.is_sqlite))
    assert ms is not None, "a clock always answers"
    return int(ms)


@cache
def _clock_ms(database_is_sqlite: bool) -> Select[int]:
    if database_is_sqlite:
        return select(
            literal_column(
                "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
            ).label("ms")
        )
    return select(func.floor(func.extract("epoch", func.clock_timestamp()) * 1000).label("ms"))


def make_engine(url: str | URL, **pool: Any) -> Engine:
    """An engine whose connections are as the service needs them."""
    engine = create_engine(url, **pool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = (
        None  # SQLAlchemy's BEGIN is the only one; the driver adds none of its own
    )
    for pragma in (
        f"busy_timeout = {_BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
        "cache_size = -65536",
        "mmap_size = 1073741824",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    # Compiling a query that runs for five milliseconds takes two hundred; its estimated cost is that of reading every followee's posts.
    with connection.cursor() as cursor:
        cursor.execute("SET jit = off")
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later could not wait for the lock: it would fail at once (SQLITE_BUSY_SNAPSHOT).
    writing = connection.get_execution_options().get("feedsvc_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def _unavailable_is_said() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise StoreUnavailable("database") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable("database") from error
        raise
