"""RabbitMQ restarts, and refuses rights.

Found by `make chaos`: beat went on sending into a dead connection, and fan-outs stood still for
ever.
"""

from __future__ import annotations

from contextlib import closing, suppress

import pytest
from structlog.testing import capture_logs

from feedsvc.fanout import beat, broker, consumer
from feedsvc.tasks import celery_on
from tests import workers
from tests.engines import wait_until


def messages(services, queue):
    """Return how many messages wait in a queue, or 0 without the queue or the broker."""
    with suppress(Exception), services.celery.connection_for_write() as connection:
        return connection.default_channel.queue_declare(queue, passive=True).message_count
    return 0


@pytest.fixture
def limited(rabbitmq):
    """A Celery application of a user without rights, and a function that gives it rights.

    It has a virtual host of its own, without the queues of other tests.
    """
    rabbitmq.control("add_vhost", "limited")
    rabbitmq.control("add_user", "limited", "secret")

    def allow(configure, write, read):
        rabbitmq.control("set_permissions", "-p", "limited", "limited", configure, write, read)

    allow("", "", "")
    url = rabbitmq.url.replace("guest:guest", "limited:secret").removesuffix("//") + "/limited"
    with closing(celery_on(url)) as celery:
        yield celery, allow
    rabbitmq.control("delete_user", "limited")
    rabbitmq.control("delete_vhost", "limited")


def test_each_right_that_a_user_lacks_is_named_and_nothing_is_declared(limited, rabbitmq):
    celery, allow = limited
    with pytest.raises(broker.BrokerRefuses, match=r"configure on .*; write on .*; read on "):
        broker.check_rights(celery)
    allow(".*", "^(?!amq)", "^(?!feedsvc.sweep)")
    with pytest.raises(broker.BrokerRefuses) as refusal:
        broker.require(celery)
    assert refusal.value.cause == "the user lacks write on amq.default; read on feedsvc.sweep"
    allow(".*", ".*", ".*")
    broker.require(celery)
    with celery.connection_for_write() as connection:
        for name in celery.amqp.queues:
            with pytest.raises(connection.channel_errors):
                connection.channel().queue_declare(name, passive=True)


def test_a_refusal_of_the_broker_is_one_line_of_beat_for_each_task(limited):
    celery, allow = limited
    scheduler = beat.MonotonicScheduler(celery)
    with capture_logs() as logged:
        scheduler.tick()
    assert {each["task"] for each in logged} == {each.task for each in scheduler.schedule.values()}
    assert all(each["event"] == "beat.task_not_sent" for each in logged)
    assert all("the user lacks a right" in each["cause"] for each in logged)
    allow(".*", ".*", ".*")
    scheduler._due.clear()
    with capture_logs() as logged:
        scheduler.tick()
    scheduler.connection.release()
    assert logged == []


def test_the_question_about_a_queues_type_takes_no_message(limited):
    celery, allow = limited
    allow(".*", ".*", ".*")
    queue = celery.amqp.queues["feedsvc.sweep"]
    with celery.connection_for_write() as connection:
        assert not consumer._is_quorum(connection, queue)
        connection.default_channel.queue_purge("feedsvc.sweep")
        celery.send_task("feedsvc.sweep")
        assert not consumer._is_quorum(connection, queue)
        wait_until(lambda: broker.count_waiting(connection, "feedsvc.sweep") == 1)
        with connection.channel() as channel:
            assert not channel.basic_get("feedsvc.sweep").delivery_info["redelivered"]


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
