"""What a worker sends to its broker and counts there."""

from __future__ import annotations

import socket
import threading
import time
from functools import partial

import pytest
from kombu.asynchronous import Hub
from kombu.asynchronous.timer import Timer
from kombu.utils.imports import symbol_by_name

from feedsvc import tasks
from feedsvc.fanout import beat, consumer, queues, sweep
from feedsvc.store.redis import keys
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


def test_beat_sends_no_more_while_ten_messages_wait(celery, monkeypatch):
    clock = [5000.0]
    monkeypatch.setattr(beat.time, "monotonic", lambda: clock[0])
    scheduler = beat.MonotonicScheduler(celery)
    for _ in range(40):
        clock[0] += scheduler.tick() + 0.001
    scheduler.close()
    assert _waiting(celery, queues.SWEEP_QUEUE) == beat.MOST_WAITING


def test_beat_goes_on_after_the_clock_of_its_host_was_set_back(celery, monkeypatch):
    clock, sent = [5000.0], []
    monkeypatch.setattr(beat.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(
        beat.MonotonicScheduler, "apply_entry", lambda _, entry, **__: sent.append(entry.name)
    )
    scheduler = beat.MonotonicScheduler(celery)
    scheduler.tick()
    assert sorted(sent) == ["audit", "guard", "sweep", "threshold inputs"]
    now = time.time()
    monkeypatch.setattr(beat.time, "time", lambda: now - 600)
    for _ in range(5):
        clock[0] += 1
        assert scheduler.tick() == 1
    assert sent[4:] == ["sweep"] * 5
    scheduler.close()


def test_a_message_of_beat_has_no_time_of_its_clock(celery):
    scheduler = symbol_by_name(celery.Beat(quiet=True).scheduler_cls)(celery)
    assert isinstance(scheduler, beat.MonotonicScheduler)
    scheduler.tick()
    scheduler.close()
    with (
        celery.connection_for_read() as connection,
        connection.SimpleQueue(queues.SWEEP_QUEUE) as queue,
    ):
        message = queue.get(timeout=5)
    assert (message.headers["expires"], message.headers["eta"]) == (None, None)
    assert "expiration" not in message.properties


def test_a_sweep_shows_when_it_ended(world):
    assert sweep.seconds_since(world.stores.redis) is None
    world.sweep()
    assert 0 <= sweep.seconds_since(world.stores.redis) < sweep.LATE_SECONDS
    world.stores.redis.expire(keys.LAST_SWEEP, 3600 - 90)
    assert 90 <= sweep.seconds_since(world.stores.redis) < 100


def _waiting(celery, queue):
    with celery.connection_for_write() as connection, connection.channel() as channel:
        return channel.queue_declare(queue, passive=True).message_count


def _empty(celery):
    with celery.connection_for_write() as connection, connection.channel() as channel:
        for queue in queues.QUEUES:
            channel.queue_declare(queue, durable=True, auto_delete=False)
            channel.queue_purge(queue)


def test_an_acknowledgement_does_not_wait_for_a_timer():
    """One message may be taken in the step that runs ready callbacks, just before the poll."""
    hub, done = Hub(timer=Timer(max_interval=600)), threading.Event()
    hub.on_tick.add(partial(consumer.poll_again, hub))
    hub.call_later(600, done.wait)
    hub.call_soon(lambda: hub.call_soon(done.set))
    # The hub polls only if it has something to poll.
    one, other = socket.socketpair()
    with one, other:
        hub.add_reader(one.fileno(), done.wait)
        loop = hub.create_loop()
        thread = threading.Thread(target=lambda: [next(loop) for _ in range(2)], daemon=True)
        thread.start()
        assert done.wait(5)
        thread.join(10)
    hub.close()
