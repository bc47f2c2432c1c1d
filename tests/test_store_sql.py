"""The database: tables and migrations agree, times keep their zone, and a writer that waits gets its turn."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from feedsvc.store.sql.tables import Account, Base, Follow, OutboxRow


def test_the_migrations_make_the_tables_that_the_code_knows(stores):
    with stores.sql.writing() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_a_time_comes_back_as_the_same_moment_in_utc(stores):
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


def test_writers_at_once_each_get_their_turn(make_stores):
    """Each reads and then writes what it read plus one: none is lost, and none fails."""
    with make_stores().sql.writing() as connection:
        connection.execute(sa.insert(Account), {"id": 1})
    errors = []

    def count(stores):
        try:
            for _ in range(20):
                with stores.sql.writing() as connection:
                    held = (
                        sa.select(Account.follower_count).where(Account.id == 1).with_for_update()
                    )
                    found = connection.scalar(held)
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
