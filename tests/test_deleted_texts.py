"""A text that was deleted or edited away is in no file of SQLite, no key and no log line."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from feedsvc import tasks
from feedsvc.errors import NotFound
from feedsvc.graph import deletion
from feedsvc.posts import edit, publish, read
from feedsvc.settings import load_settings
from feedsvc.store import open_stores
from feedsvc.store.sql.migrate import upgrade
from feedsvc.store.sql.tables import IdempotencyKey
from tests.conftest import TINY
from tests.world import World

GONE = "a text that must not stay"


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def embedded(folder, valkey, make_stores):
    """Stores on a database file of their own. `make_stores` has emptied Redis."""
    url = f"sqlite:///{folder / 'feedsvc.db'}"
    made = open_stores(load_settings({}, **TINY), database_url=url, redis_url=valkey.url)
    upgrade(made.sql)
    yield made
    made.close()


def upload(stores, text, author=1, key=None):
    photo = {"photo_url": f"https://img.example/{text.replace(' ', '-')}.jpg", "description": text}
    return publish.publish(stores, World(stores).enqueue, author, **photo, idempotency_key=key)


def traces(folder, *texts):
    """Return the files in which a text is found."""
    return {
        (file.name, text)
        for file in folder.iterdir()
        for text in texts
        if text.encode() in file.read_bytes()
    }


def test_a_deleted_or_edited_text_leaves_the_files_of_the_database(embedded, folder):
    World(embedded).people(1, 2)
    posts = [
        upload(embedded, f"{GONE}, number {number}" + "." * 1_500, author, key=f"key {number}")
        for number in range(12)
        for author in (1, 2)
    ]
    upload(embedded, "a text that stays", 1)
    assert traces(folder, GONE)
    for post in posts[:8:2]:
        edit.delete(embedded, 1, post.post_id)
    for post in posts[8:16:2]:
        edit.edit(embedded, 1, post.post_id, description="another")
    for post in posts[16::2]:
        edit.delete(embedded, 1, post.post_id)
    deletion.delete(embedded, 2)
    tasks.sweep(embedded, World(embedded).enqueue)  # as the worker and `feedsvc fanout sweep` do
    still = {("feedsvc.db", "a text that stays")}
    assert traces(folder, GONE, "a text that stays") == still


def test_the_log_is_emptied_only_now_and_then_and_again_if_a_reader_is_in_the_way(embedded, folder):
    World(embedded).people(1)
    log = folder / "feedsvc.db-wal"
    with embedded.sql.reading() as reader:
        reader.execute(sa.text("SELECT count(*) FROM posts"))
        upload(embedded, GONE)
        assert not embedded.sql.empty_log()
    assert embedded.sql.empty_log()
    assert log.stat().st_size == 0
    upload(embedded, GONE)
    assert embedded.sql.empty_log()
    assert log.stat().st_size > 0


def test_no_answer_is_stored_under_an_idempotency_key(stores):
    World(stores).people(1)
    first = upload(stores, "a text", key="k")
    edit.edit(stores, 1, first.post_id, description="another")
    repeated = upload(stores, "a text", key="k")
    assert (repeated.body, repeated.replayed) == (first.body, True)
    with stores.sql.reading() as connection:
        rows = connection.execute(sa.select(IdempotencyKey)).all()
    assert all("text" not in str(value) for row in rows for value in row)


def test_a_repeated_upload_of_a_deleted_post_is_not_found(stores):
    World(stores).people(1)
    post_id = upload(stores, "a text", key="k").post_id
    edit.delete(stores, 1, post_id)
    for _ in range(2):
        with pytest.raises(NotFound):
            upload(stores, "a text", key="k")
    assert read.many(stores, None, [post_id]) == []


def test_an_error_of_the_database_holds_no_text(stores):
    statement, values = sa.text("INSERT INTO nowhere VALUES (:text)"), {"text": GONE}
    with stores.sql.writing() as connection, pytest.raises(sa.exc.DBAPIError) as raised:
        connection.execute(statement, values)
    assert GONE not in str(raised.value)
    assert GONE not in repr(raised.value)
