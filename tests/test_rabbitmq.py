"""RabbitMQ restarts.

Found by `make chaos`: beat went on sending into a dead connection, and fan-outs stood still for
ever.
"""

from __future__ import annotations

from contextlib import suppress

from tests import workers
from tests.engines import wait_until


def messages(services, queue):
    """Return how many messages wait in a queue, or 0 without the queue or the broker."""
    with suppress(Exception), services.celery.connection_for_write() as connection:
        return connection.default_channel.queue_declare(queue, passive=True).message_count
    return 0


def test_links_are_enqueued_again_after_the_broker_is_back(app, rabbitmq):
    services = app.extensions["feedsvc"]
    services.enqueue(1, 1, "0", 0)
    rabbitmq.kill()
    rabbitmq.start()
    before = messages(services, "feedsvc.fanout")
    with suppress(Exception):
        services.enqueue(2, 1, "0", 0)  # may go into the dead connection
    services.enqueue(3, 1, "0", 0)
    wait_until(lambda: messages(services, "feedsvc.fanout") > before)


def test_beat_sends_sweeps_again_after_the_broker_is_back(app, settings, rabbitmq):
    services = app.extensions["feedsvc"]
    with workers.processes(settings, "beat"):
        wait_until(lambda: messages(services, "feedsvc.sweep"), 30)
        rabbitmq.kill()
        rabbitmq.start()
        with services.celery.connection_for_write() as connection:
            connection.default_channel.queue_purge("feedsvc.sweep")
        wait_until(lambda: messages(services, "feedsvc.sweep"), 30)
