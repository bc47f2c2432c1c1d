"""The watermark of PostgreSQL, where uploads commit in another order than they draw their ids."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from feedsvc.posts import publish
from feedsvc.store import watermark
from feedsvc.store.sql import highest_id
from tests.engines import wait_until
from tests.test_watermark import AUTHOR, OTHER, VIEWER, Polling, followed
from tests.world import World

__all__ = ["followed"]


@pytest.fixture(autouse=True)
def every_page_may_look(monkeypatch):
    monkeypatch.setattr(watermark, "_LOOK_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(watermark, "_FIRST_LOOKS", 0)


class OpenUpload:
    """An upload that has drawn its id, and does not commit before `commit`."""

    def __init__(self, world, monkeypatch, author):
        self.error, self.post_id, self.number = None, None, None
        self._drawn, self._may_commit = threading.Event(), threading.Event()
        self._world, self._author = world, author
        insert = publish._insert_post

        def stop_after(stores, *args):
            post = insert(stores, *args)
            self.post_id = post.id
            self._drawn.set()
            assert self._may_commit.wait(30)
            return post

        with monkeypatch.context() as patch:
            patch.setattr(publish, "_insert_post", stop_after)
            self._thread = threading.Thread(target=self._run)
            self._thread.start()
            assert self._drawn.wait(10)

    def commit(self):
        self._may_commit.set()
        self._thread.join(10)
        assert self.error is None

    def _run(self):
        try:
            self._world.post(self._author)
        except BaseException as error:  # noqa: BLE001 -- the test reports it
            self.error = error
            self._drawn.set()


def rise(stores, count=3):
    for _ in range(count):
        stores.watermark.rise(stores.sql, stores.redis)
    return stores.watermark.value


def test_an_upload_has_a_transaction_number_before_it_draws_its_id(followed, monkeypatch):
    numbers = []
    read = highest_id.clock_and_highest

    def note(connection):
        numbers.append(connection.scalar(sa.text("SELECT pg_current_xact_id_if_assigned()::text")))
        return read(connection)

    monkeypatch.setattr(highest_id, "clock_and_highest", note)
    followed.post(AUTHOR)
    assert [number is not None for number in numbers] == [True]


def test_a_post_that_commits_after_a_higher_one_is_polled(followed, monkeypatch):
    client = Polling(followed.stores)
    slow = OpenUpload(followed, monkeypatch, AUTHOR)
    fast = followed.post(OTHER)
    assert slow.post_id < fast
    assert client.poll() == [fast]
    assert (rise(followed.stores) or 0) < slow.post_id
    slow.commit()
    assert client.poll() == [slow.post_id]
    assert client.poll() == []
    assert wait_until(lambda: rise(followed.stores) == fast)


def test_a_process_without_a_watermark_polls_below_a_page_that_is_the_whole_feed(
    world, make_stores, monkeypatch
):
    world.people(VIEWER, AUTHOR, OTHER)
    world.follow(VIEWER, AUTHOR)
    world.follow(VIEWER, OTHER)
    slow = OpenUpload(world, monkeypatch, AUTHOR)
    fast = world.post(OTHER)
    client = Polling(make_stores())
    assert client.stores.watermark.value is None
    assert client.shown == [fast]
    slow.commit()
    assert client.poll() == [slow.post_id]


def test_open_transactions_above_the_snapshot_hold_the_watermark_back(followed, monkeypatch):
    """The upper bound of a snapshot does not count open transactions.

    The first number ends last here. So the snapshot of the look ends below the number of the upload
    that is open, and the next look's snapshot begins at that number.
    """
    stores = followed.stores
    rise(stores)
    with stores.sql.writing() as first:
        first.execute(sa.text("SELECT pg_current_xact_id()"))
        slow = OpenUpload(followed, monkeypatch, AUTHOR)
        # A post above the open one, from a transaction with a lower number.
        post = sa.text(
            "INSERT INTO posts (id, author_id, photo_url, description, route, policy_version)"
            " VALUES (:id, :author, '', '', 'pull', 1)"
        )
        first.execute(post, {"id": slow.post_id + 1, "author": OTHER})
    assert (rise(stores) or 0) < slow.post_id
    slow.commit()
    assert wait_until(lambda: rise(stores) == slow.post_id + 1)


def test_a_long_writing_transaction_holds_the_watermark_back_and_loses_nothing(followed):
    stores = followed.stores
    client = Polling(stores)
    before = wait_until(lambda: rise(stores))
    with stores.sql.writing() as connection:
        connection.execute(sa.text("SELECT pg_current_xact_id()"))
        posts = [followed.post(author) for author in (AUTHOR, OTHER, AUTHOR)]
        assert client.poll() == posts[::-1]
        assert rise(stores) == before
        assert client.poll() == []
    assert wait_until(lambda: rise(stores) == posts[-1])
    assert client.poll() == []


def test_another_run_of_the_server_begins_anew(followed):
    stores = followed.stores
    mark = stores.watermark
    number = 1 + wait_until(lambda: rise(stores))
    row = {"highest": number + 100, "unapplied": None, "oldest": 7, "number": 9, "run": "a"}
    assert mark._decided_by(_Look(**row)) is None
    assert mark._decided_by(_Look(**{**row, "oldest": 12, "number": 13, "run": "b"})) is None
    assert (
        mark._decided_by(_Look(**{**row, "oldest": 13, "number": 14, "run": "b"})) == number + 100
    )
    assert mark._decided_by(_Look(**{**row, "oldest": 3, "number": 5, "run": "b"})) is None


class _Look:
    def __init__(self, **columns):
        vars(self).update(columns)


def test_uploads_at_once_get_different_ids_and_are_polled_once_each(followed, make_stores):

    client, made, lock = Polling(followed.stores), [], threading.Lock()

    def upload(world, author):
        for _ in range(15):
            post = world.post(author)
            with lock:
                made.append(post)

    threads = [
        threading.Thread(target=upload, args=(World(make_stores()), author))
        for author in (AUTHOR, OTHER, AUTHOR, OTHER)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        client.poll()
    for thread in threads:
        thread.join()
    client.poll()
    assert sorted(client.shown[1:]) == sorted(made)
