"""Stored times come from the clock of the database, and survive one that is set back."""

from __future__ import annotations

import datetime as dt
import types

import pytest
import sqlalchemy as sa

from feedsvc.fanout import sweep
from feedsvc.graph import load
from feedsvc.planning.survey import survey
from feedsvc.store.sql import clock
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout, Follow, OutboxRow, StoredSurvey

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def pushed(world):
    """A world with one post whose fan-out has not begun."""
    world.add_followers(9, [1, 2])
    world.is_exact(1, 2)
    world.post(9)
    return world


def set_back(stores, *columns):
    """Move stored times an hour ahead: the clock was set back by an hour since."""
    with stores.sql.writing() as connection:
        for column in columns:
            connection.execute(
                sa.update(column.class_).where(column.is_not(None)).values({column: db_time(HOUR)})
            )


def test_the_clock_is_that_of_the_database_in_utc(stores):
    found = clock.now(stores.sql)
    assert abs(found - now()) < dt.timedelta(seconds=5)
    with stores.sql.reading() as connection:
        later, ms = connection.execute(sa.select(db_time(HOUR), clock.CLOCK_MS)).one()
        assert connection.scalar(sa.select(db_time() < db_time(HOUR)))
        assert abs(ms / 1000 - found.timestamp()) < 5
    assert HOUR <= later - found < HOUR + dt.timedelta(seconds=5)


def test_a_stored_time_compares_to_the_clock_that_made_it(pushed):
    with pushed.stores.sql.reading() as connection:
        due_in = connection.scalar(sa.select(Fanout.next_look_at)) - clock.read(connection)
        assert dt.timedelta(seconds=5) < due_in <= dt.timedelta(seconds=10)
        assert connection.scalar(sa.select(Fanout.next_look_at > db_time()))


def test_a_lost_message_is_sent_again_although_the_clock_was_set_back(pushed):
    pushed.queue.clear()
    assert sweep.sweep(pushed.stores, pushed.enqueue).redriven == 0
    set_back(pushed.stores, Fanout.next_look_at)
    assert sweep.sweep(pushed.stores, pushed.enqueue).redriven == 1
    pushed.drain()
    assert pushed.is_exact(1, 2)


def test_a_post_is_taken_off_its_list_although_the_clock_was_set_back(pushed):
    pushed.drain()
    set_back(pushed.stores, Fanout.next_look_at)
    assert sweep.sweep(pushed.stores, pushed.enqueue).taken_off == 1


def test_an_outbox_row_is_swept_although_the_clock_was_set_back(pushed):
    stores = pushed.stores
    with stores.sql.writing() as connection:
        row = {"kind": "relations", "ids": [1]}
        connection.execute(sa.insert(OutboxRow).values(made_at=db_time()), row)
    assert sweep.sweep(stores, pushed.enqueue).changes == 0, "its own process may be applying it"
    set_back(stores, OutboxRow.made_at)
    assert sweep.sweep(stores, pushed.enqueue).changes == 1


def test_a_survey_of_the_future_does_not_put_off_the_next(pushed):
    survey.refresh(pushed.stores)
    assert not survey.refresh_if_old(pushed.stores)
    set_back(pushed.stores, StoredSurvey.taken_at)
    assert survey.refresh_if_old(pushed.stores)


def test_the_time_of_a_follow_does_not_come_from_the_host(world, monkeypatch):
    class Ahead(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + HOUR

    host = types.SimpleNamespace(datetime=Ahead, UTC=dt.UTC)
    monkeypatch.setattr("feedsvc.store.sql.database.dt", host)
    world.people(8, 9)
    world.follow(8, 9)
    load.load_edges(world.stores, [(7, 9)])
    with world.stores.sql.reading() as connection:
        at = clock.ms(connection) / 1000
        for followed_at in connection.scalars(sa.select(Follow.followed_at_seconds)):
            assert abs(followed_at - at) < 60
