"""The connection to the database: `reading()` and `writing()`, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from feedsvc.errors import StoreUnavailable
from feedsvc.forks import abandon, call_in_child
from feedsvc.settings import REQUEST_THREADS, Settings
from feedsvc.store.bulkhead import Bulkhead, Patience
from feedsvc.store.sql.faults import cause_of, drops_connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection, Engine, ExceptionContext, RootTransaction
    from sqlalchemy.orm import DeclarativeBase

_BUSY_SECONDS = 15
_CHECK_BUSY_SECONDS = 0.5
# A deleted text must leave the files within a minute, so the log is emptied this often.
_EMPTY_LOG_EVERY_SECONDS = 20
_WRITING = {"feedsvc_writing": True}

# Writes the row of the schema's revision, which every database has. A running migration may lock
# this row for minutes. A locked row is skipped: the migration shows that writes are accepted.
_WRITE = sa.text(
    "UPDATE alembic_version SET version_num = version_num "
    "WHERE ctid = ANY (ARRAY(SELECT ctid FROM alembic_version FOR UPDATE SKIP LOCKED))"
)


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

    def __init__(self, url: str | URL, settings: Settings | None = None) -> None:
        """Prepare the engine. The first transaction connects."""
        self._settings = settings or Settings()
        self._patience = Patience(self._settings.database_work_seconds)
        self.engine = make_engine(
            url,
            self._settings,
            self._patience,
            pool_timeout=self._settings.database_pool_seconds,
            pool_size=5,
            max_overflow=20,
        )
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._secrets = _secrets_of(self.engine.url)
        self._log_is_due_at = 0.0
        call_in_child(self._forget_parent)

    def serve_requests(self) -> None:
        """Limit each wait for a statement to that of a request, and begin to use a bulkhead.

        Commands and workers do not call this, and wait longer. SQLite is a file and does not hang.
        """
        if not self.is_sqlite:
            self._patience.seconds = self._settings.database_statement_seconds
            self._patience.bulkhead = Bulkhead("database", REQUEST_THREADS)

    def check_writable(self) -> None:
        """Write an unchanged value. Raises `StoreUnavailable` if the database refuses the write."""
        with self.reading() as connection:
            if self.is_sqlite:
                _write_on_sqlite(connection)
            else:
                connection.execute(_WRITE)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a read transaction. It sees every commit that came before it."""
        with self._used(), self.engine.connect() as connection, _begin(connection):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a write transaction, which commits at the end of the block.

        On SQLite it takes the write lock when it begins.
        """
        with (
            self._used(),
            self.engine.connect().execution_options(**_WRITING) as connection,
            _begin(connection),
        ):
            yield connection

    def empty_log(self) -> bool:
        """Write SQLite's write-ahead log into the database file, and empty the log.

        Deleted texts then are in neither file. Does nothing if the last time is less than 20 s ago.
        Returns False if another connection prevents it, and the call has to be repeated.
        """
        if not self.is_sqlite or time.monotonic() < self._log_is_due_at:
            return True
        pooled = self.engine.raw_connection()
        try:
            cursor = pooled.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {int(_CHECK_BUSY_SECONDS * 1000)}")
            is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
        except sqlite3.Error as error:
            pooled.invalidate()
            raise StoreUnavailable("database", str(error)) from error
        finally:
            pooled.close()
        if not is_busy:
            self._log_is_due_at = time.monotonic() + _EMPTY_LOG_EVERY_SECONDS
        return not is_busy

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

    def _forget_parent(self) -> None:
        abandon(self.engine.pool)
        self.engine.dispose(close=False)

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Turn an error of the driver into `StoreUnavailable` if the database caused it."""
        bulkhead = self._patience.bulkhead
        with bulkhead.entered() if bulkhead else nullcontext():
            try:
                yield
            except SQLAlchemyError as error:
                cause = cause_of(error, self._secrets)
                if cause is None:
                    raise
                raise StoreUnavailable("database", cause) from error


def now() -> dt.datetime:
    """Return the time of this process's clock, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def make_engine(
    url: str | URL,
    settings: Settings | None = None,
    patience: Patience | None = None,
    **pool: Any,
) -> Engine:
    """Return an engine whose connections are set up for the service."""
    settings = settings or Settings()
    # An error, which is logged, holds no parameters: they may be texts of posts.
    engine = sa.create_engine(url, hide_parameters=True, **pool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        from feedsvc.store.sql import postgresql as server  # noqa: PLC0415 -- SQLite needs none

        server.prepare(engine, settings, patience or Patience(settings.database_work_seconds))
    event.listen(engine, "handle_error", _drop_connections)
    return engine


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
        "secure_delete = ON",  # deleted texts are overwritten, not left in free pages
        "cache_size = -65536",
        "mmap_size = 1073741824",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for the write lock: it fails at
    # once (SQLITE_BUSY_SNAPSHOT). So a write transaction takes the lock when it begins.
    writing = connection.get_execution_options().get("feedsvc_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _write_on_sqlite(connection: Connection) -> None:
    """Write an unchanged value, and do not wait long for another writer."""
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(_CHECK_BUSY_SECONDS * 1000)}")
    try:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
    finally:
        if not connection.invalidated:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")


def _begin(connection: Connection) -> RootTransaction:
    """Begin a transaction, on a new connection if the pooled one is dead."""
    try:
        return connection.begin()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return connection.begin()


def _drop_connections(context: ExceptionContext) -> None:
    # SQLAlchemy replaces the connection, and every pooled one that is as old.
    if drops_connections(context.original_exception):
        context.is_disconnect = True


def _secrets_of(url: URL) -> list[str]:
    """Return the texts of a URL that no message may hold."""
    texts = [url.password, *(url.query.get(name) for name in ("password", "sslpassword"))]
    return [str(text) for text in texts if text]
