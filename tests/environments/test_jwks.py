"""Key servers that fail, in front of the whole service."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.engines import free_port, wait_until
from tests.environments.parts import Part
from tests.key_server import KeyServer, SigningKey

KEY = SigningKey("one")


@pytest.fixture(params=["drip", "slow"])
def key_server(request):
    with closing(KeyServer(KEY, behaviour=request.param)) as server:
        yield server


@pytest.fixture
def url(key_server, tmp_path):
    port = free_port()
    options = ["--port", str(port), "--web-workers", "1", "--workers", "0"]
    settings = {"data_dir": tmp_path / "data", "jwt_jwks": key_server.url}
    with closing(Part(sys.executable, "-m", "feedsvc", "up", *options, **settings)) as up:
        up.wait_for_text("ready:", 60)
        yield f"http://127.0.0.1:{port}"


def ask(address, token=None):
    """Return the status of the answer and the seconds that it took."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    began = time.monotonic()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    return status, time.monotonic() - began


def test_a_key_server_that_does_not_finish_holds_up_only_what_it_must(key_server, url):
    with ThreadPoolExecutor(32) as pool:
        tokens = [KEY.token(account) for account in range(1, 33)]
        asked = [pool.submit(ask, f"{url}/v1/feed", token) for token in tokens]
        alive = [ask(f"{url}/healthz") for _ in range(10)]
        answers = [each.result() for each in asked]
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < 3
    assert {status for status, _ in alive} == {200}
    assert max(seconds for _, seconds in alive) < 1.5
    assert key_server.fetches == 1

    key_server.behaviour = "good"
    key_server.released.set()
    wait_until(lambda: ask(f"{url}/v1/feed", KEY.token(7))[0] == 200, 15)
    key_server.close()
    assert ask(f"{url}/v1/feed", KEY.token(8))[0] == 200
