"""The connection to the database: `reading()` and `writing()`, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from feedsvc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection, Engine, Select
    from sqlalchemy.orm import DeclarativeBase

_BUSY_SECONDS = 15
_WRITING = {"feedsvc_writing": True}


class UtcDateTime(sa.TypeDecorator[dt.datetime]):
    """A column type: an aware time in UTC, also on SQLite, which stores no time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: dt.datetime | None, dialect: sa.Dialect
    ) -> dt.datetime | None:
        """Return the time as the database takes it. A naive time is a programming error."""
        if value is None:
            return None
        assert value.tzinfo is not None, "a time needs a time zone"
        value = value.astimezone(dt.UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(
        self, value: dt.datetime | None, _dialect: sa.Dialect
    ) -> dt.datetime | None:
        """Return the time with its time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Database:
    """An engine with the settings that the service relies on. A forked process opens its own."""

    def __init__(self, url: str | URL) -> None:
        """Prepare the engine. The first transaction connects."""
        self.engine = make_engine(
            url, pool_pre_ping=True, pool_timeout=5, pool_size=5, max_overflow=20
        )
        self.is_sqlite = self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a read transaction. It sees every commit that came before it."""
        with _raises_unavailable(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a write transaction, which commits at the end of the block.

        On SQLite it takes the write lock when it begins.
        """
        with (
            _raises_unavailable(),
            self.engine.connect().execution_options(**_WRITING) as connection,
            connection.begin(),
        ):
            yield connection

    def one_at_a_time(self, connection: Connection, lock: int) -> None:
        """Wait for the advisory lock with this number, and keep it until the transaction ends.

        On SQLite every write transaction is alone already.
        """
        if not self.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})

    def insert_if_absent(
        self, connection: Connection, table: type[DeclarativeBase], row: dict[str, Any]
    ) -> bool:
        """Insert a row unless its key is taken. Returns whether the row was inserted."""
        return connection.execute(_insert_if_absent(table, self.is_sqlite), row).first() is not None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def now() -> dt.datetime:
    """Return the time of this process's clock, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def clock_ms(database: Database, connection: Connection) -> int:
    """Return the database's clock in milliseconds since 1970. All processes share this clock."""
    ms = connection.scalar(_clock_ms(database.is_sqlite))
    assert ms is not None, "a clock always answers"
    return int(ms)


def make_engine(url: str | URL, **pool: Any) -> Engine:
    """Return an engine whose connections are set up for the service."""
    engine = sa.create_engine(url, **pool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _prepare_postgresql)
    return engine


@cache
def _clock_ms(is_sqlite: bool) -> Select[int]:
    if is_sqlite:
        since_1970 = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
        return sa.select(sa.literal_column(since_1970).label("ms"))
    seconds = sa.func.extract("epoch", sa.func.clock_timestamp())
    return sa.select(sa.func.floor(seconds * 1000).label("ms"))


@cache
def _insert_if_absent(table: type[DeclarativeBase], is_sqlite: bool) -> sa.Insert:
    dialect = sqlite if is_sqlite else postgresql
    statement: sa.Insert = dialect.insert(table).on_conflict_do_nothing()
    return statement.returning(sa.literal(1))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver adds no BEGIN: SQLAlchemy sends the only one
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
    # Compilation takes 200 ms for a query that runs for 5 ms. PostgreSQL compiles it because the
    # estimated cost is that of reading the posts of every followee.
    with connection.cursor() as cursor:
        cursor.execute("SET jit = off")
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for the write lock: it fails at
    # once (SQLITE_BUSY_SNAPSHOT). So a write transaction takes the lock when it begins.
    writing = connection.get_execution_options().get("feedsvc_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def _raises_unavailable() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise StoreUnavailable("database") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable("database") from error
        raise
