"""The clock of the database, as an SQL expression.

Each time that is stored, or compared with a stored time, comes from this clock. So a wrong clock of
a host has no effect. The clock of the database may be set back, too. A stored time may then lie
further ahead than any process stores. Each query for due rows takes rows with such a time as due.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from feedsvc.store.sql.database import UtcDateTime

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from feedsvc.store.sql.database import Database


class _Clock(FunctionElement[dt.datetime]):
    """The time now plus its argument, in seconds."""

    inherit_cache = True
    type = UtcDateTime()


class _Ms(FunctionElement[int]):
    """The time now, in milliseconds since 1970."""

    inherit_cache = True
    type = sa.BigInteger()


CLOCK_MS = _Ms()


def db_time(after: dt.timedelta = dt.timedelta()) -> ColumnElement[dt.datetime]:
    """Return an expression: the time now, or `after` from now."""
    return _Clock(sa.literal(after.total_seconds(), sa.Float()))


def ms(connection: Connection) -> int:
    """Return the time now, in milliseconds since 1970."""
    return connection.execute(_NOW_MS).scalar_one()


def now(database: Database) -> dt.datetime:
    """Return the time now, in a transaction of its own."""
    with database.reading() as connection:
        return read(connection)


def read(connection: Connection) -> dt.datetime:
    """Return the time now."""
    found = connection.scalar(_NOW)
    assert found is not None, "a clock always answers"
    return found


@compiles(_Clock, "sqlite")
def _clock_of_sqlite(element: _Clock, compiler: Any, **options: Any) -> str:
    # The form in which SQLAlchemy stores times, with six digits behind the point.
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {seconds} || ' seconds')"


@compiles(_Clock, "postgresql")
def _clock_of_postgresql(element: _Clock, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(_Ms, "sqlite")
def _ms_of_sqlite(_element: _Ms, _compiler: Any, **_options: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"


@compiles(_Ms, "postgresql")
def _ms_of_postgresql(_element: _Ms, _compiler: Any, **_options: Any) -> str:
    return "CAST(floor(extract(epoch from clock_timestamp()) * 1000) AS bigint)"


_NOW = sa.select(db_time())
_NOW_MS = sa.select(CLOCK_MS)
