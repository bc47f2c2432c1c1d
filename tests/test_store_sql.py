"""The database: migrations, times, and concurrent writers."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from feedsvc.store.sql.tables import Account, Base, Follow, OutboxRow


def test_the_migrations_create_the_tables_of_the_code(stores):
    with stores.sql.writing() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_a_stored_time_is_read_as_the_same_moment_in_utc(stores):
    moment = dt.datetime(
        2026, 11, 24, 1, 2, 3, 456789, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))
    )
    with stores.sql.writing() as connection:
        connection.execute(
            sa.insert(OutboxRow), {"kind": "relations", "ids": [1], "made_at": moment}
        )
        found = connection.scalar(sa.select(OutboxRow.made_at))
    assert found == moment
    assert found.utcoffset() == dt.timedelta(0)


def test_concurrent_writers_take_turns(make_stores):
    """Each writer reads a count and writes it plus one: no step is lost, and no writer fails."""
    with make_stores().sql.writing() as connection:
        connection.execute(sa.insert(Account), {"id": 1})
    errors = []

    def count(stores):
        try:
            for _ in range(20):
                with stores.sql.writing() as connection:
                    locked = (
                        sa.select(Account.follower_count).where(Account.id == 1).with_for_update()
                    )
                    found = connection.scalar(locked)
                    connection.execute(sa.update(Account).values(follower_count=found + 1))
        except BaseException as error:  # noqa: BLE001 -- reported below
            errors.append(error)

    threads = [threading.Thread(target=count, args=(make_stores(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with make_stores().sql.reading() as connection:
        assert connection.scalar(sa.select(Account.follower_count)) == 80


def test_a_transaction_that_fails_leaves_nothing(stores):
    def fail(connection):
        connection.execute(sa.insert(Account), {"id": 1})
        connection.execute(sa.insert(Follow), {"follower_id": 1, "followee_id": 1})

    with pytest.raises(sa.exc.IntegrityError), stores.sql.writing() as connection:
        fail(connection)
    with stores.sql.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Account)) == 0
