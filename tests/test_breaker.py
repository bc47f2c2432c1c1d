"""The circuit breaker: a server that hangs holds one thread. It is trusted once it answers."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing

import pytest

from feedsvc.errors import StoreUnavailable
from feedsvc.store.redis import breaker as breakers
from feedsvc.store.redis.breaker import Breaker, NoAnswer
from feedsvc.store.redis.client import connect


@pytest.fixture
def clock(monkeypatch):
    at = [100.0]
    monkeypatch.setattr(breakers.time, "monotonic", lambda: at[0])
    return at


def test_while_a_server_is_suspected_one_thread_at_a_time_tries_it(clock):
    breaker = Breaker()
    breaker.timed_out()
    breaker.enter()
    with pytest.raises(NoAnswer):
        breaker.enter()
    breaker.timed_out()
    with pytest.raises(NoAnswer):
        breaker.enter()
    clock[0] += 0.31
    breaker.enter()


def test_a_thread_that_dies_in_its_try_lets_the_next_try_begin_after_2_seconds(clock):
    breaker = Breaker()
    breaker.timed_out()
    breaker.enter()
    clock[0] += 2.01
    breaker.enter()


def test_a_server_that_answered_is_trusted_at_once():
    breaker = Breaker()
    breaker.timed_out()
    breaker.answered()
    assert not breaker.is_open
    breaker.enter()
    breaker.enter()


@pytest.fixture
def silent(monkeypatch):
    """A server that accepts connections and never answers, and a client with short limits."""
    monkeypatch.setattr("feedsvc.store.redis.client.TIMEOUT_SECONDS", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(connect(f"redis://127.0.0.1:{listener.getsockname()[1]}")) as client,
    ):
        yield client


def test_a_silent_server_fails_the_first_command_in_time_and_the_next_ones_at_once(silent):
    with pytest.raises(StoreUnavailable, match="Redis"):
        silent.get("a")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as refusal:
        silent.get("a")
    assert "a moment ago" in refusal.value.cause
    assert time.monotonic() - began < 0.05


def test_threads_do_not_queue_at_a_silent_server(silent):
    with pytest.raises(StoreUnavailable):
        silent.get("a")
    failed = []

    def ask():
        try:
            silent.get("a")
        except StoreUnavailable as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(1)
    assert len(failed) == 8
