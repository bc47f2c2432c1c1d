"""What a worker sends to its broker and counts there."""

from __future__ import annotations

import pytest

from feedsvc import tasks
from feedsvc.fanout import queues
from tests.engines import wait_until


@pytest.fixture
def celery(app):
    """An application with empty queues. Other tests use the same broker."""
    made = app.extensions["feedsvc"].celery
    _empty(made)
    yield made
    _empty(made)


def test_waiting_fan_out_messages_are_counted(celery, app, world):
    assert tasks._queued(celery) == 0
    for post_id in range(3):
        app.extensions["feedsvc"].enqueue(post_id, 1, "0", 20_000 * post_id)
    wait_until(lambda: tasks._queued(celery) == 3)


def test_small_posts_of_the_same_half_second_request_one_micro_batch_that_waits(celery, app, world):
    for post_id in range(3):
        app.extensions["feedsvc"].enqueue(post_id, 0, "0", 1)
    wait_until(lambda: tasks._queued(celery) == 1)
    with (
        celery.connection_for_read() as connection,
        connection.SimpleQueue(queues.SMALL_QUEUE) as queue,
    ):
        headers = queue.get(timeout=5).headers
    assert headers[queues.WAIT_HEADER]
    assert headers["eta"] is None, "no time of one host's clock reaches another host"


def _empty(celery):
    with celery.connection_for_write() as connection, connection.channel() as channel:
        for queue in queues.QUEUES:
            channel.queue_declare(queue, durable=True, auto_delete=False)
            channel.queue_purge(queue)
