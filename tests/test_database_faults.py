"""A database that cannot answer: told from a wrong statement, and named in one line."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from feedsvc.errors import BadSettings, StoreUnavailable
from feedsvc.services import database_url
from feedsvc.settings import load_settings
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database
from feedsvc.store.sql.faults import cause_of, drops_connections

ON_POSTGRESQL = {
    errors.ReadOnlySqlTransaction: (True, True),
    errors.AdminShutdown: (True, True),
    errors.CrashShutdown: (True, True),
    errors.CannotConnectNow: (True, True),
    errors.IdleInTransactionSessionTimeout: (True, True),
    errors.ProtocolViolation: (True, True),
    errors.IoError: (True, True),
    errors.SerializationFailure: (True, False),
    errors.DeadlockDetected: (True, False),
    errors.QueryCanceled: (True, False),
    errors.LockNotAvailable: (True, False),
    errors.DiskFull: (True, False),
    errors.OutOfMemory: (True, False),
    errors.TooManyConnections: (True, False),
    errors.InsufficientPrivilege: (True, False),
    psycopg.OperationalError: (True, False),
    psycopg.errors.ConnectionTimeout: (True, False),
    psycopg.InterfaceError: (True, False),
    errors.UniqueViolation: (False, False),
    errors.UndefinedTable: (False, False),
    errors.SyntaxError: (False, False),
    errors.InFailedSqlTransaction: (False, False),
    errors.StatementTooComplex: (False, False),
    psycopg.ProgrammingError: (False, False),
}
ON_SQLITE = {
    "SQLITE_BUSY": (True, False),
    "SQLITE_BUSY_SNAPSHOT": (True, False),
    "SQLITE_LOCKED": (True, False),
    "SQLITE_FULL": (True, False),
    "SQLITE_IOERR_WRITE": (True, True),
    "SQLITE_READONLY": (True, True),
    "SQLITE_CANTOPEN": (True, True),
    "SQLITE_CORRUPT": (True, True),
    "SQLITE_NOTADB": (True, True),
    "SQLITE_ERROR": (False, False),
    "SQLITE_CONSTRAINT_UNIQUE": (False, False),
}


def wrapped(original):
    base = sqlite3.Error if isinstance(original, sqlite3.Error) else psycopg.Error
    return DBAPIError.instance("SELECT 1", {}, original, base)


@pytest.mark.parametrize(("kind", "expected"), ON_POSTGRESQL.items())
def test_a_code_of_postgresql_tells_a_fault_of_the_database_from_a_wrong_statement(kind, expected):
    original = kind("said\n  so")
    cause = cause_of(wrapped(original))
    assert (cause is not None, drops_connections(original)) == expected
    assert cause in ("said so", None)


@pytest.mark.parametrize(("name", "expected"), ON_SQLITE.items())
def test_a_code_of_sqlite_tells_a_fault_of_the_database_from_a_wrong_statement(name, expected):
    original = sqlite3.OperationalError("said so")
    original.sqlite_errorname = name
    assert (cause_of(wrapped(original)) is not None, drops_connections(original)) == expected


def test_a_pool_without_a_free_connection_is_named():
    assert "pool" in cause_of(PoolTimeout())


def test_a_cause_holds_no_secret():
    error = wrapped(psycopg.OperationalError('bad "hunter2" here'))
    assert cause_of(error, ["hunter2"]) == 'bad "***" here'


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://h/d?prepare_threshold=soon", "whole numbers"),
        ("postgresql://h/d?connect_timeout=soon", "whole numbers"),
        ("postgresql://h/d?no_such_option=1", "no_such_option"),
        ("postgresql://h/d?autocommit=1", "autocommit"),
        ("postgresql+psycopg2://h/d", "postgresql+psycopg2"),
        ("mysql://h/d", "PostgreSQL or SQLite"),
        ("sqlite://", "must name a file"),
        ("sqlite:///x.db?journal=wal", "journal"),
    ],
)
def test_a_database_url_that_cannot_be_used_is_refused_in_one_line(url, said):
    with pytest.raises(BadSettings, match=r"(?i)database_url") as refused:
        load_settings({}, database_url=url)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "options", ["prepare_threshold=0", "connect_timeout=4&keepalives_idle=9", "sslmode=prefer"]
)
def test_options_of_the_driver_may_stand_in_the_url(options, tmp_path):
    url = f"postgresql://h/d?{options}"
    assert database_url(load_settings({}, database_url=url), tmp_path).endswith(options)


def spoil(path, how):
    if how == "no database":
        path.write_bytes(b"This is a letter, not a database. " * 200)
    elif how == "a folder":
        path.mkdir()
    elif how == "a missing folder":
        return path / "deeper" / "feedsvc.db"
    return path


@pytest.mark.parametrize("how", ["no database", "a folder", "a missing folder"])
def test_a_file_that_is_no_database_is_named_in_one_line(tmp_path, how):
    path = spoil(tmp_path / "feedsvc.db", how)
    with (
        closing(Database(f"sqlite:///{path}")) as database,
        pytest.raises(StoreUnavailable) as refused,
    ):
        migrate.upgrade(database)
    assert refused.value.cause in ("file is not a database", "unable to open database file")
    assert str(path) not in str(refused.value)
    assert refused.value.cause in refused.value.lines[0]


def test_a_locked_sqlite_is_unavailable_and_works_again(tmp_path):
    url = f"sqlite:///{tmp_path / 'feedsvc.db'}"
    with closing(Database(url)) as database:
        migrate.upgrade(database)
        database.check_writable()
        with closing(sqlite3.connect(tmp_path / "feedsvc.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="database") as refused:
                database.check_writable()
            assert refused.value.cause == "database is locked"
        database.check_writable()


def test_a_newer_schema_is_served_and_left_alone(database_url):
    with closing(Database(database_url)) as database:
        with database.writing() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        migrate.check(database)
        with pytest.raises(migrate.SchemaNewer, match=r"revision 9999.*nothing was changed"):
            migrate.upgrade(database)
        assert migrate.revisions(database)[0] == "9999"


def test_a_statement_that_a_migration_cannot_run_is_named_in_one_line(tmp_path):
    with closing(Database(f"sqlite:///{tmp_path / 'other.db'}")) as database:
        with database.writing() as connection:
            connection.execute(sa.text("CREATE TABLE posts (id INTEGER)"))
        with pytest.raises(migrate.MigrationFailed, match="posts") as refused:
            migrate.upgrade(database)
        assert "\n" not in str(refused.value)
