"""Uploads, idempotency keys, edits and deletions."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
import sqlalchemy as sa

from feedsvc import post_ids
from feedsvc.errors import Conflict, Forbidden, Invalid, NotFound, StoreUnavailable
from feedsvc.fanout import status
from feedsvc.graph import accounts, deletion
from feedsvc.posts import edit, publish, read
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Follow, IdempotencyKey, OutboxRow, Post

URL = "https://img.example/1.jpg"


def upload(stores, author=9, key=None, description="", enqueue=lambda *_: None):
    return publish.publish(
        stores, enqueue, author, photo_url=URL, description=description, idempotency_key=key
    )


def count(stores, table):
    with stores.sql.reading() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table))


@pytest.fixture
def author(stores):
    accounts.create(stores, 9)
    return stores


def test_post_ids_fit_in_a_double_and_ascend_within_a_process(author):
    made = [upload(author).post_id for _ in range(20)]
    assert made == sorted(made)
    assert max(made) < 2**53


def test_another_id_is_drawn_if_an_id_is_taken(author, monkeypatch):
    first = upload(author).post_id
    drawn = iter([first, first, first + 1])
    monkeypatch.setattr(post_ids, "draw", lambda *_: next(drawn))
    assert upload(author).post_id == first + 1


def test_an_upload_by_an_unknown_account_changes_nothing(stores):
    with pytest.raises(NotFound):
        upload(stores)
    assert count(stores, Post) == count(stores, OutboxRow) == 0


def test_an_upload_succeeds_while_the_broker_is_down(author):
    def broken(*_):
        raise StoreUnavailable("broker", "it cannot be reached")

    assert read.one(author, None, upload(author, enqueue=broken).post_id)


def test_a_repeated_key_gets_the_first_answer_again(author):
    first = upload(author, key="k")
    edit.edit(author, 9, first.post_id, description="changed since")
    again = upload(author, key="k")
    assert (again.post_id, again.body, again.replayed) == (first.post_id, first.body, True)
    assert count(author, Post) == 1


def test_a_key_with_another_body_is_refused_and_each_account_has_its_own_keys(author):
    upload(author, key="k")
    with pytest.raises(Invalid):
        upload(author, key="k", description="another")
    accounts.create(author, 8)
    assert not upload(author, author=8, key="k").replayed
    assert count(author, Post) == 2


def test_many_concurrent_clients_with_one_key_publish_one_post(author, make_stores):
    answers, barrier = [], threading.Barrier(6)

    def client(stores):
        barrier.wait()
        while True:
            try:
                answers.append(upload(stores, key="k"))
            except Conflict:
                continue
            return

    threads = [threading.Thread(target=client, args=(make_stores(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.post_id for answer in answers}) == 1
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 5
    assert count(author, Post) == 1


def test_a_key_expires_after_a_day(author):
    upload(author, key="k")
    with author.sql.writing() as connection:
        connection.execute(
            sa.update(IdempotencyKey).values(made_at=now() - dt.timedelta(hours=24, minutes=1))
        )
    assert not upload(author, key="k").replayed


def test_an_edit_shows_in_the_next_read(author):
    post = upload(author).post_id
    assert b'"description":""' in read.one(author, None, post)
    edit.edit(author, 9, post, description="new")
    assert b'"description":"new"' in read.one(author, None, post)


def test_a_post_of_another_author_cannot_be_changed(author):
    post = upload(author).post_id
    with pytest.raises(Forbidden):
        edit.delete(author, 8, post)
    with pytest.raises(Forbidden):
        edit.edit(author, 8, post, description="mine")
    assert read.one(author, None, post)


def test_a_post_is_deleted_once_and_stays_deleted(author):
    post = upload(author).post_id
    assert read.one(author, None, post)
    edit.delete(author, 9, post)
    edit.delete(author, 9, post)
    for _ in range(2):
        with pytest.raises(NotFound):
            read.one(author, None, post)
    with pytest.raises(NotFound):
        edit.edit(author, 9, post, description="too late")
    with pytest.raises(NotFound):
        edit.delete(author, 9, post + 1)


def test_several_posts_are_returned_in_the_order_of_their_ids_in_the_request(author):
    first, second = upload(author).post_id, upload(author).post_id
    bodies = read.many(author, None, [first, 5, second])
    assert [str(first).encode() in bodies[0], str(second).encode() in bodies[1], len(bodies)] == [
        True,
        True,
        2,
    ]


def test_an_account_is_deleted_with_its_posts_and_edges(world):
    world.add_followers(9, [1, 2, 3])
    world.people(8)
    world.follow(9, 8)
    post = world.post(9)
    world.post(8)
    assert world.is_exact(1, 2, 3, 8, 9)
    deletion.delete(world.stores, 9)
    world.oracle.delete(post)
    assert world.is_exact(1, 2, 3, 8)
    with pytest.raises(NotFound):
        accounts.get(world.stores, 9)
    assert accounts.get(world.stores, 8).follower_count == 0
    assert accounts.get(world.stores, 1).following_count == 0
    assert count(world.stores, Follow) == 0
    world.drain()
    accounts.create(world.stores, 9)
    world.oracle.follows = {edge for edge in world.oracle.follows if 9 not in edge}
    world.post(9)
    assert world.is_exact(1, 2, 3, 8, 9)


def test_a_deletion_that_was_cut_short_can_be_requested_again(world, monkeypatch):
    world.add_followers(9, [1, 2])
    world.post(9)
    monkeypatch.setattr(deletion, "_remove_edges", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        deletion.delete(world.stores, 9)
    monkeypatch.undo()
    with pytest.raises(Conflict):
        accounts.create(world.stores, 9)
    with pytest.raises(Conflict):
        world.post(9)
    deletion.delete(world.stores, 9)
    assert count(world.stores, Follow) == 0
    assert count(world.stores, Account) == 2


def test_a_fan_out_keeps_its_end_time_when_its_post_is_deleted(world):
    world.add_followers(9, [1])
    post = world.post(9)
    world.drain()
    before = status.status(world.stores, post)
    world.delete(9, post)
    assert status.status(world.stores, post) == before
