"""The outbox: how its rows are stored, and rows that cannot be applied."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.cache import celebrity_lists
from feedsvc.errors import NotFound, StoredNotFinished, StoreUnavailable
from feedsvc.graph import accounts, deletion
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import OutboxRow

# The process of another version may apply a row: its kind and its ids must never change.
ROWS = [
    (outbox.PostPublished(author=9, post_id=5), "posted", [9, 5]),
    (outbox.PostRepeated(author=9, post_id=5), "posted again", [9, 5]),
    (outbox.PostEdited(post_id=5), "post edited", [5]),
    (outbox.PostsDeleted(author=9, post_ids=(5, 6)), "post deleted", [9, 5, 6]),
    (outbox.Followed(follower=1), "followed", [1]),
    (outbox.RelationsChanged(accounts=(1, 2)), "relations", [1, 2]),
    (outbox.Flush(), "flush", []),
]


@pytest.fixture
def at_once(monkeypatch):
    """The sweep applies outbox rows of any age."""
    monkeypatch.setattr(outbox, "_GRACE", -outbox._GRACE)


@pytest.mark.parametrize(("effect", "kind", "ids"), ROWS, ids=[kind for _, kind, _ in ROWS])
def test_an_effect_is_stored_as_its_kind_and_ids_and_read_back(
    stores, monkeypatch, effect, kind, ids
):
    monkeypatch.setattr(outbox, "_delete", lambda *_: None)
    with outbox.transaction(stores) as transaction:
        transaction.add(effect)
    with stores.sql.reading() as connection:
        [row] = connection.execute(sa.select(OutboxRow.id, OutboxRow.kind, OutboxRow.ids))
    assert (row.kind, row.ids) == (kind, ids)
    assert outbox._effect_of(row) == effect


class Broken(Exception):
    """A fault that only one outbox row has."""


def down(*_):
    raise StoreUnavailable("Redis")


@pytest.fixture
def logged(monkeypatch):
    """The ids of the outbox rows that were logged as impossible to apply, in order."""
    ids = []
    monkeypatch.setattr(
        outbox._log, "error", lambda _event, *, change_id, **_: ids.append(change_id), raising=False
    )
    return ids


def store_row(stores, kind, *ids):
    """Store an outbox row, as a crash or a newer version leaves it. Return its id."""
    row = {"kind": kind, "ids": list(ids), "made_at": now()}
    with stores.sql.writing() as connection:
        return connection.scalar(sa.insert(OutboxRow).returning(OutboxRow.id), row)


def stored_rows(stores):
    with stores.sql.reading() as connection:
        return list(connection.scalars(sa.select(OutboxRow.id).order_by(OutboxRow.id)))


def test_a_row_of_an_unknown_kind_is_kept_and_logged_once_and_stops_no_other(
    world, monkeypatch, at_once, logged
):
    world.add_followers(9, [1])
    world.is_exact(1)
    newer = store_row(world.stores, "made by a newer version", 9, 9)
    with monkeypatch.context() as patched:
        patched.setattr(celebrity_lists, "put", down)
        with pytest.raises(StoredNotFinished):
            world.post(9)
    assert world.sweep().changes == 1
    assert len(world.read(1)) == 1
    assert world.sweep().changes == 0
    assert stored_rows(world.stores) == [newer]
    assert logged == [newer]


def test_a_row_that_fails_is_kept_and_logged_once_and_stops_no_other(
    world, monkeypatch, at_once, logged
):
    world.add_followers(9, [1])
    first, second = store_row(world.stores, "relations", 9), store_row(world.stores, "relations", 1)
    applied = []

    def apply(effect, _stores):
        if effect.accounts == (9,):
            raise Broken
        applied.append(effect.accounts)

    monkeypatch.setattr(outbox.RelationsChanged, "apply", apply)
    assert world.sweep().changes == 1
    assert world.sweep().changes == 0
    assert (applied, stored_rows(world.stores), logged) == ([(1,)], [first], [first])
    assert second not in stored_rows(world.stores)


def test_rows_that_fail_do_not_fill_the_sweep(world, monkeypatch, at_once, logged):
    world.people(9)
    monkeypatch.setattr(outbox, "_SWEEP_ROWS", 2)
    broken = [store_row(world.stores, "made by a newer version", 9) for _ in range(5)]
    store_row(world.stores, "relations", 9)
    assert world.sweep().changes == 1
    assert stored_rows(world.stores) == broken


STORE_FAULTS = [StoreUnavailable("Redis"), StoreUnavailable("database")]


@pytest.mark.parametrize("error", STORE_FAULTS)
def test_a_store_that_is_down_ends_the_sweep_and_keeps_every_row_that_was_not_applied(
    world, monkeypatch, at_once, logged, error
):
    world.people(1, 9)
    first, second = store_row(world.stores, "relations", 1), store_row(world.stores, "relations", 9)

    def apply(effect, _stores):
        if effect.accounts == (9,):
            raise error

    monkeypatch.setattr(outbox.RelationsChanged, "apply", apply)
    with pytest.raises(type(error)):
        world.sweep()
    assert (stored_rows(world.stores), logged) == ([second], [])
    assert first not in stored_rows(world.stores)


def test_an_account_with_a_row_that_cannot_be_applied_is_deleted(world, at_once, logged):
    world.people(9)
    newer = store_row(world.stores, "made by a newer version", 9)
    deletion.delete(world.stores, 9)
    with pytest.raises(NotFound):
        accounts.get(world.stores, 9)
    assert (stored_rows(world.stores), logged) == ([newer], [newer])
