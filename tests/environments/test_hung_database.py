"""A database that hangs, and connections that die without a word."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest

from feedsvc import create_app
from feedsvc.errors import StoreUnavailable
from feedsvc.settings import REQUEST_THREADS
from tests.engines import free_port, wait_until
from tests.environments.calls import (
    PHOTO,
    Answer,
    are_unavailable,
    call,
    migrated,
    together,
    upload,
)
from tests.environments.parts import Part
from tests.environments.proxy import Proxy
from tests.environments.servers import PgBouncer, PostgreSQL

HALF = REQUEST_THREADS // 2


@pytest.fixture(scope="module")
def server():
    """An instance that these tests stop and continue."""
    with closing(PostgreSQL()) as made:
        yield made


@pytest.fixture(scope="module")
def proxy(server):
    with closing(Proxy(server.port)) as made:
        yield made


@pytest.fixture
def database_url(server, proxy):
    server.execute("CREATE DATABASE feed")
    try:
        yield migrated(server.url("feed", proxy.port))
    finally:
        server.execute("DROP DATABASE feed WITH (FORCE)")


def warm(app, auth):
    """Open as many connections as there are threads."""
    assert call(app, "PUT", "/v1/accounts/9", auth(9)).status in (200, 201)
    assert {a.status for a in together([partial(upload, app, auth(9))] * 16)} == {201}


def test_a_stopped_server_is_503_in_time_and_holds_half_of_the_threads(server, app, auth):
    warm(app, auth)
    with server.stopped(), ThreadPoolExecutor(REQUEST_THREADS) as threads:
        began = time.monotonic()
        first = [threads.submit(upload, app, auth(9)) for _ in range(REQUEST_THREADS)]
        wait_until(lambda: sum(each.done() for each in first) >= HALF, 5)
        assert time.monotonic() - began < 3
        refused = [upload(app, auth(9)) for _ in range(20)]
        assert are_unavailable(refused)
        answered_at_once = sum(answer.seconds < 0.5 for answer in refused)
        assert answered_at_once >= 10, [answer.seconds for answer in refused]
        health = call(app, "GET", "/healthz", {})
        assert (health.status, health.seconds < 1) == (200, True)
        answers = [each.result() for each in first]
    assert are_unavailable(answers)
    assert max(answer.seconds for answer in [*answers, *refused]) < 10
    wait_until(lambda: upload(app, auth(9)).status == 201, 5)
    assert {a.status for a in together([partial(upload, app, auth(9))] * 16)} == {201}


def test_dead_connections_are_given_up_within_seconds_while_new_ones_work(proxy, app, auth):
    warm(app, auth)
    proxy.swallow_existing()
    answers = together([partial(upload, app, auth(9))] * 12)
    assert max(answer.seconds for answer in answers) < 10
    assert {answer.status for answer in answers} <= {201, 503}
    began = time.monotonic()
    assert {a.status for a in together([partial(upload, app, auth(9))] * 16)} == {201}
    assert time.monotonic() - began < 5


def test_a_network_that_swallows_everything_is_503_in_time(proxy, app, auth):
    warm(app, auth)
    proxy.swallow_all()
    try:
        answers = together([partial(upload, app, auth(9))] * 24)
    finally:
        proxy.passes()
    assert are_unavailable(answers)
    assert max(answer.seconds for answer in answers) < 10
    wait_until(lambda: upload(app, auth(9)).status == 201, 10)


def test_a_stopped_server_behind_pgbouncer_is_503_in_time(server, settings, auth):
    with closing(PgBouncer(server)) as pgbouncer:
        url = server.url("feed", pgbouncer.port)
        with closing(create_app(**{**settings, "database_url": url})) as app:
            warm(app, auth)
            with server.stopped():
                answers = together([partial(upload, app, auth(9))] * 24)
            assert are_unavailable(answers)
            assert max(answer.seconds for answer in answers) < 10
            wait_until(lambda: upload(app, auth(9)).status == 201, 10)


def test_a_statement_that_takes_too_long_is_ended_on_the_server(server, settings, auth):
    """The limit of requests is for requests: a command on the same database waits longer."""
    with closing(create_app(**{**settings, "database_statement_seconds": 3})) as app:
        warm(app, auth)
        database = app.extensions["feedsvc"].stores.sql
        began = time.monotonic()
        with pytest.raises(StoreUnavailable), database.reading() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(60)")
        assert time.monotonic() - began < 6
        sleeping = (
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
            "AND query ~ 'pg_sleep.60' AND pid <> pg_backend_pid()"
        )
        wait_until(lambda: server.execute(sleeping) == [(0,)], 5)
        assert upload(app, auth(9)).status == 201


def test_a_web_process_stays_alive_while_the_database_hangs(server, settings, auth):
    """Over HTTP, with more clients than the process has threads."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "feedsvc", "web", "--port", str(port), "--processes", "1"]
    with closing(Part(*command, **settings)) as web:
        web.wait_for(f"{url}/readyz", 60)
        assert send(url, auth, "PUT", "/v1/accounts/9").status in (200, 201)
        with server.stopped(), ThreadPoolExecutor(24) as clients:
            waiting = [clients.submit(send, url, auth, "POST", "/v1/posts") for _ in range(24)]
            while not all(each.done() for each in waiting):
                health = send(url, auth, "GET", "/healthz")
                assert (health.status, health.seconds < 1) == (200, True), health
            answers = [each.result() for each in waiting]
            wait_until(lambda: send(url, auth, "GET", "/readyz").status == 503, 5)
            ready = send(url, auth, "GET", "/readyz")
        assert are_unavailable([*answers, ready])
        assert "database" in ready.text
        assert max(answer.seconds for answer in answers) < 10
        wait_until(lambda: send(url, auth, "POST", "/v1/posts").status == 201, 5)


def send(url, auth, method, path):
    """Send a request to the web process."""
    body = json.dumps(PHOTO).encode() if method == "POST" else None
    headers = {**auth(9), "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, body, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    began = time.monotonic()
    try:
        with opener.open(request, timeout=20) as answer:
            status, text, after = answer.status, answer.read().decode(), None
    except urllib.error.HTTPError as error:
        with error:
            status, text, after = error.code, error.read().decode(), error.headers["Retry-After"]
    return Answer(status, time.monotonic() - began, text, after)
