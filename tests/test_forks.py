"""A forked process shares no connection, copy or count with its parent."""

from __future__ import annotations

import json
import os

import sqlalchemy as sa

from feedsvc import create_app, post_ids
from feedsvc.fanout import broker
from feedsvc.feed import reader


def in_child(work):
    """Run a function in a forked process, and return its JSON answer."""
    answers, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(answer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(answer)
    with os.fdopen(answers) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def connections(stores):
    """Return what identifies this process's connections to the two stores."""
    with stores.sql.reading() as connection:
        driver = connection.connection.dbapi_connection
        sql = id(driver) if stores.sql.is_sqlite else connection.scalar(sa.text(PID))
    return [sql, stores.redis.client_id()]


PID = "SELECT pg_backend_pid()"


def test_a_child_has_connections_of_its_own_and_leaves_those_of_its_parent(stores):
    mine = connections(stores)
    theirs = [in_child(lambda: connections(stores)) for _ in range(2)]
    assert connections(stores) == mine
    for each in theirs:
        assert each[0] != mine[0]
        assert each[1] != mine[1]


def test_a_child_begins_with_an_empty_near_cache_and_without_counts(world):
    world.add_followers(9, [7])
    world.post(9)
    reader.home_page(world.stores, 7, None, 10)
    stores = world.stores
    assert stores.near_cache._snapshot.marker
    assert stores.usage._counts

    def begins():
        return [stores.near_cache._snapshot.marker.decode(), dict(stores.usage._counts)]

    assert in_child(begins) == ["", {}]
    assert in_child(lambda: len(reader.home_page(stores, 7, None, 10).items)) == 1


def test_children_of_one_parent_draw_different_ids():
    first = [in_child(lambda: post_ids.draw(0, 0)) for _ in range(4)]
    assert len(set(first)) > 1, first  # equal by chance once in 70 billion runs


def test_locks_that_a_thread_of_the_parent_held_are_free_in_the_child(stores):
    parts = (stores.near_cache, stores.usage, stores.watermark)
    with stores.near_cache._lock, stores.usage._lock, stores.watermark._lock:
        assert in_child(lambda: [part._lock.locked() for part in parts]) == [False] * 3


def test_a_child_sends_to_the_broker_on_a_connection_of_its_own(app):
    celery = app.extensions["feedsvc"].celery
    celery.send_task("feedsvc.sweep")
    mine = celery.pool._resource.queue[-1]

    def sends():
        celery.send_task("feedsvc.sweep")
        return celery.pool._resource.queue[-1] is not mine

    assert in_child(sends) is True
    assert celery.pool._resource.queue[-1] is mine
    assert mine.connected
    celery.send_task("feedsvc.sweep")
    broker.check(celery)


def test_the_end_of_a_child_leaves_the_embedded_server_to_its_parent(tmp_path):
    with create_app(data_dir=tmp_path) as app:
        services = app.extensions["feedsvc"]

        def answers_and_closes():
            ready = app.test_client().get("/readyz").status_code
            app.close()
            return ready

        assert in_child(answers_and_closes) == 200
        assert services.valkey.process.poll() is None
        assert app.test_client().get("/readyz").status_code == 200
