"""What a worker knows of its broker."""

from __future__ import annotations

import pytest

from feedsvc import worker
from tests.engines import wait_until


@pytest.fixture
def celery(app):
    """With empty queues, before and after: other tests use the same broker."""
    made = app.extensions["feedsvc"].celery
    _empty(made)
    yield made
    _empty(made)


def test_messages_of_fan_outs_that_wait_are_counted(celery, app, world):
    assert worker._queued(celery) == 0
    for post_id in range(3):
        app.extensions["feedsvc"].enqueue(post_id, 1, "0", 20_000 * post_id)
    wait_until(lambda: worker._queued(celery) == 3)


def _empty(celery):
    with celery.connection_for_write() as connection, connection.channel() as channel:
        for queue in worker.QUEUES:
            channel.queue_declare(queue, durable=True, auto_delete=False)
            channel.queue_purge(queue)
