"""A database that lives in another time zone keeps every time that clients may send."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from feedsvc.store.sql.database import Database, UtcDateTime

FIRST = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
LAST = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati"])
def test_the_first_and_the_last_time_come_back_in_every_time_zone(postgresql, database, zone):
    postgresql.execute(f"ALTER DATABASE {database} SET timezone = '{zone}'")
    opened = Database(postgresql.url(database))
    statement = sa.select(sa.bindparam("time", type_=UtcDateTime()).label("time"))
    for _ in range(2):
        for time in (FIRST, LAST):
            with opened.reading() as connection:
                assert connection.scalar(statement, {"time": time}) == time
            with opened.writing() as connection:
                assert connection.scalar(statement, {"time": time}) == time
    opened.close()
