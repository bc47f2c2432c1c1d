"""`/readyz`: 503 only while a store takes no writes, degraded for the rest, and no waiting."""

from __future__ import annotations

import re
import threading
import time

import pytest

from feedsvc.api import readiness
from feedsvc.api.readiness import _Check, _in_words
from feedsvc.errors import StoreUnavailable
from feedsvc.fanout import sweep
from tests.engines import free_port, wait_until


@pytest.fixture
def always_fresh(monkeypatch):
    monkeypatch.setattr(readiness, "_FRESH_SECONDS", 0)
    monkeypatch.setattr(readiness, "_SELDOM_SECONDS", 0)


def test_a_process_that_drains_says_so_whatever_is_asked(client):
    for query in ("", "?stores=no"):
        answer = client.get(f"/readyz{query}", environ_overrides={"feedsvc.draining": True})
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/readyz?stores=no").json["status"] == "ready"


@pytest.fixture
def settings_without_broker(settings):
    return {**settings, "broker_url": f"amqp://feeds:hunter2@127.0.0.1:{free_port()}/feeds"}


class TestWithoutBroker:
    @pytest.fixture
    def settings(self, settings_without_broker):
        return settings_without_broker

    def test_a_broker_that_is_away_is_reported_in_a_200(self, client):
        answer = wait_until(
            lambda: (got := client.get("/readyz")).json["status"] == "degraded" and got
        )
        assert (answer.status_code, answer.json["degraded"]) == (200, ["broker"])
        assert answer.json["causes"]["broker"] == "it cannot be reached"
        assert client.get("/readyz?stores=no").json["status"] == "ready"


def test_a_sweep_that_is_missing_is_reported_once_the_process_is_older(client, monkeypatch):
    assert client.get("/readyz").json["status"] == "ready"
    monkeypatch.setattr(sweep, "LATE_SECONDS", 0.0)
    answer = wait_until(lambda: (got := client.get("/readyz")).json["status"] == "degraded" and got)
    assert (answer.status_code, answer.json["degraded"]) == (200, ["sweep"])
    assert "is a worker running, and beat?" in answer.json["causes"]["sweep"]


@pytest.mark.parametrize("seconds", [-8, 8])
def test_clocks_more_than_a_second_apart_are_reported(client, monkeypatch, seconds):
    host = time.time

    class Time:
        time = staticmethod(lambda: host() + seconds)

    monkeypatch.setattr("feedsvc.store.clocks.time", Time)
    answer = wait_until(lambda: (got := client.get("/readyz")).json["status"] == "degraded" and got)
    assert (answer.status_code, answer.json["degraded"]) == (200, ["clocks"])
    cause = answer.json["causes"]["clocks"]
    [found, where] = re.findall(r"the clock of Redis is ([0-9.]+) s (ahead of|behind) this", cause)[
        0
    ]
    # The way to Redis and back counts in part.
    assert 7 < float(found) < 9
    assert where == ("ahead of" if seconds < 0 else "behind")


def test_a_probe_beside_the_start_of_a_check_gets_the_result_before(monkeypatch):
    check = _Check(lambda: "down", fresh_seconds=0)
    check.run_if_stale()
    assert check.fault() == "down"
    start, beside = threading.Thread.start, []
    monkeypatch.setattr(
        threading.Thread, "start", lambda thread: beside.append(check.fault()) or start(thread)
    )
    wait_until(lambda: check.run_if_stale() or beside)
    assert beside[0] == "down"


def test_many_probes_ask_once_a_second():
    asked = []
    check = _Check(lambda: asked.append(1), 1000)
    for _ in range(50):
        check.run_if_stale()
        assert check.fault() is None
    assert len(asked) == 1


def test_a_store_that_hangs_is_asked_by_one_thread_and_waited_for_once(monkeypatch):
    monkeypatch.setattr(readiness, "_FIRST_WAIT_SECONDS", 0.05)
    released = threading.Event()
    check = _Check(lambda: released.wait(30) and None, 0)
    began = time.monotonic()
    for _ in range(50):
        check.run_if_stale()
        assert check.fault() == "it does not answer"
    assert time.monotonic() - began < 1
    released.set()
    wait_until(lambda: not check._thread.is_alive())
    assert check.fault() is None


def test_the_last_answer_serves_while_a_store_is_asked_again(monkeypatch):
    monkeypatch.setattr(readiness, "_WAIT_SECONDS", 0)
    released, hangs = threading.Event(), False
    check = _Check(lambda: released.wait(30) and None if hangs else "it is read-only", 0)
    check.run_if_stale()
    check._thread.join()
    hangs = True
    check.run_if_stale()
    assert check.fault() == "it is read-only"
    monkeypatch.setattr(readiness, "_SILENT_SECONDS", 0)
    assert check.fault() == "it does not answer"
    released.set()


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("its memory is full (OOM)", "its memory is full (OOM)"),
        ("it refuses the login: (0, 0): (403) ACCESS_REFUSED 10.0.0.1", "it refuses the login"),
        ("TimeoutError: Timeout reading from 10.0.0.1:6379", "it does not answer"),
        ("no answer from the server for 2.0 s", "it does not answer"),
        ("ConnectionError: Error 111 connecting to 10.0.0.1:6379", "it cannot be reached"),
        ("AuthenticationError: invalid username-password pair", "it refuses the login"),
        ("ConnectionError: certificate verify failed", "its TLS certificate is not accepted"),
        ("", "it cannot be reached"),
    ],
)
def test_a_cause_names_no_host(cause, words):
    assert _in_words(StoreUnavailable("Redis", cause)) == words


def test_a_code_of_the_database_is_put_into_words():
    class ReadOnly(Exception):
        sqlstate = "25006"

    error = StoreUnavailable("database", "cannot execute UPDATE in a read-only transaction")
    error.__cause__ = Exception()
    error.__cause__.orig = ReadOnly()
    assert _in_words(error) == "it is read-only"
