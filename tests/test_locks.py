"""Concurrent transactions on PostgreSQL: one waits for the other, and neither fails.

SQLite has one writer at a time.
"""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.cache import post_bodies
from feedsvc.errors import BeingDeleted, NotFound
from feedsvc.graph import accounts, deletion, follows
from feedsvc.graph import load as loading
from feedsvc.graph.load import load_edges
from feedsvc.posts import edit
from feedsvc.store.sql.database import Database
from feedsvc.store.sql.tables import Account, Follow, Post
from tests.engines import wait_until

_WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Concurrent(threading.Thread):
    """A call in its own thread. `waits` returns once it waits for a lock, or is over."""

    def __init__(self, stores, call):
        super().__init__(daemon=True)
        self._stores, self._call, self._error = stores, call, None

    def run(self):
        try:
            self._call()
        except Exception as error:  # noqa: BLE001 -- `ends` raises it again
            self._error = error

    def waits(self):
        self.start()
        wait_until(lambda: self.a_lock_is_awaited() or not self.is_alive())

    def ends(self):
        self.join(30)
        if self._error:
            raise self._error

    def a_lock_is_awaited(self):
        with self._stores.sql.reading() as connection:
            return connection.scalar(_WAITING)


@pytest.fixture
def meets(monkeypatch, stores):
    """Return a function that runs `call` in the middle of a transaction.

    It runs before call number `nth` of the given function, until it waits for a lock or is over.
    """

    def arrange(module, name, call, nth=1):
        real, calls, beside = getattr(module, name), [], Concurrent(stores, call)

        def meeting(*args, **options):
            calls.append(name)
            if len(calls) == nth:
                beside.waits()
            return real(*args, **options)

        monkeypatch.setattr(module, name, meeting)
        return beside

    return arrange


def count(stores, table):
    with stores.sql.reading() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table))


def test_a_deletion_of_an_account_waits_for_a_running_upload_and_deletes_its_post(world, meets):
    world.add_followers(9, [1])
    world.post(9)
    concurrent = meets(post_bodies, "serialise", lambda: deletion.delete(world.stores, 9))
    world.post(9)
    concurrent.ends()
    assert (
        count(world.stores, Post),
        count(world.stores, Follow),
        count(world.stores, Account),
    ) == (0, 0, 1)
    with pytest.raises(NotFound):
        world.post(9)
    assert world.read(1) == []


def test_two_concurrent_deletions_of_an_account_count_its_edges_off_once(world, meets):
    world.add_followers(9, [1, 2])
    world.add_followers(8, [1, 2])
    again = meets(deletion, "_decrement", lambda: deletion.delete(world.stores, 9))
    deletion.delete(world.stores, 9)
    again.ends()
    assert [accounts.get(world.stores, account).following_count for account in (1, 2)] == [1, 1]


def test_concurrent_deletions_of_accounts_that_follow_each_other_end(world, meets):
    world.people(8, 9)
    world.follow(8, 9)
    world.follow(9, 8)
    other = meets(deletion, "_decrement", lambda: deletion.delete(world.stores, 8))
    deletion.delete(world.stores, 9)
    other.ends()
    deletion.sweep(world.stores)
    assert (count(world.stores, Follow), count(world.stores, Account)) == (0, 0)


def test_a_deletion_ends_beside_a_follow_that_has_waited_since_before_its_mark(world, monkeypatch):
    world.people(1, 9)
    world.follow(1, 9)
    unfollow = Concurrent(world.stores, lambda: follows.unfollow(world.stores, 1, 9))
    delete = Concurrent(world.stores, lambda: deletion.delete(world.stores, 9))
    with world.stores.sql.writing() as connection:
        accounts.lock(connection, 1)
        unfollow.waits()
        with monkeypatch.context() as patch:
            patch.setattr(deletion, "_STEPS", 0)
            deletion.delete(world.stores, 9)  # only marks
        delete.start()
        wait_until(lambda: delete.a_lock_is_awaited() == 2)
    delete.ends()
    with pytest.raises(BeingDeleted):
        unfollow.ends()
    assert accounts.get(world.stores, 1).following_count == 0
    assert count(world.stores, Account) == 1


def test_an_import_counts_a_concurrent_follow(world, meets):
    world.people(1, 2, 3)
    load = meets(follows, "_count", lambda: load_edges(world.stores, [(2, 3), (2, 1)]))
    world.follow(1, 3)
    load.ends()
    counts = [
        (each.follower_count, each.following_count)
        for each in (accounts.get(world.stores, account) for account in (1, 2, 3))
    ]
    assert counts == [(1, 1), (0, 2), (2, 0)]


def test_an_import_refuses_an_edge_across_a_concurrent_block(world, meets):
    world.people(1, 2)
    load = meets(Database, "insert_if_absent", lambda: load_edges(world.stores, [(1, 2)]))
    world.block(2, 1)
    load.ends()
    assert count(world.stores, Follow) == 0


def test_two_concurrent_imports_count_the_edges_of_both(world, monkeypatch):
    world.people(1, 2, 3)
    has_counted, lock, add = threading.Event(), loading._lock, outbox.Transaction.add
    other = Concurrent(world.stores, lambda: load_edges(world.stores, [(2, 3)]))

    def lock_once_the_other_has_counted(stores, connection, accounts_named):
        if accounts_named is loading._LOCK and threading.current_thread() is not other:
            other.start()
            assert has_counted.wait(30)
        lock(stores, connection, accounts_named)

    def commit_once_the_first_waits(transaction, effect):
        if threading.current_thread() is other:
            has_counted.set()
            wait_until(other.a_lock_is_awaited)
        add(transaction, effect)

    monkeypatch.setattr(loading, "_lock", lock_once_the_other_has_counted)
    monkeypatch.setattr(outbox.Transaction, "add", commit_once_the_first_waits)
    load_edges(world.stores, [(1, 3)])
    other.ends()
    assert accounts.get(world.stores, 3).follower_count == 2


def test_a_deletion_of_an_account_waits_for_an_import_and_deletes_its_edges(world, meets):
    world.people(1, 9)
    concurrent = meets(loading, "_lock", lambda: deletion.delete(world.stores, 9), nth=2)
    load_edges(world.stores, [(1, 9)])
    concurrent.ends()
    assert count(world.stores, Follow) == 0
    assert accounts.get(world.stores, 1).following_count == 0


def test_an_upload_does_not_wait_while_an_import_adds_follows(world, meets):
    world.people(1, 9)
    ended = []
    upload = meets(loading.clock, "ms", lambda: ended.append(world.post(9)))
    load_edges(world.stores, [(1, 9)])
    ended.append("import")
    upload.ends()
    assert ended[1:] == ["import"]


@pytest.mark.parametrize(
    "beside",
    [lambda world: world.run_link(), lambda world: deletion.delete(world.stores, 9)],
    ids=["link", "account"],
)
def test_a_post_is_deleted_while_its_fan_out_ends_or_its_account_is_deleted(world, meets, beside):
    world.add_followers(9, [1])
    world.read(1)
    post = world.post(9)
    other = meets(edit, "db_time", lambda: beside(world), nth=2)
    edit.delete(world.stores, 9, post)
    other.ends()
    assert world.read(1) == []
