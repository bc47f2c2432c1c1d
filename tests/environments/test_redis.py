"""Redis as it fails in production: full, without its disk or replicas, busy, hung, demoted."""

from __future__ import annotations

import threading
import time
from contextlib import closing, contextmanager

import pytest
import redis

from feedsvc import create_app
from tests.engines import wait_until
from tests.environments.calls import SECRET, authorization
from tests.environments.proxy import Proxy
from tests.environments.servers import Redis


def headers(account, scope="feed service", **more):
    return {**authorization(account, scope), **more}


@contextmanager
def serving(folder, **settings):
    """Yield a test client of an application on an SQLite in a folder."""
    app = create_app(
        **{
            "data_dir": str(folder),
            "jwt_secret": SECRET,
            "broker_url": "redis://127.0.0.1:1/1",  # away: uploads succeed without a broker
            **settings,
        }
    )
    try:
        yield app.test_client()
    finally:
        app.extensions["feedsvc"].close()


@pytest.fixture
def client(redis_server, tmp_path):
    with serving(tmp_path, redis_url=redis_server.url) as made:
        yield made


def follow_and_post(client):
    """Account 9 follows 8, and 8 has posted. Returns the post."""
    for account in (8, 9):
        client.put(f"/v1/accounts/{account}", headers=headers(account))
    assert client.put("/v1/accounts/9/following/8", headers=headers(9)).status_code == 204
    return upload(client).json


def upload(client, **more):
    return client.post(
        "/v1/posts", json={"photo_url": "https://img.example/1.jpg"}, headers=headers(8, **more)
    )


def feed(client):
    return client.get("/v1/feed", headers=headers(9))


def is_unavailable(answer):
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    return True


def timed(ask):
    began = time.monotonic()
    answer = ask()
    return answer, time.monotonic() - began


def is_ready(client):
    return client.get("/readyz").status_code == 200


def cannot_save(server):
    """Make snapshots fail, as a full disk does, and wait until the server refuses writes."""
    operator = server.client()
    operator.config_set("save", "3600 1")
    (server.folder / "dump.rdb").mkdir()
    operator.set("any", 1)
    operator.bgsave()
    wait_until(lambda: operator.info("persistence")["rdb_last_bgsave_status"] == "err")
    operator.close()


def can_save(server):
    operator = server.client()
    operator.config_set("save", "")
    (server.folder / "dump.rdb").rmdir()
    operator.bgsave()
    wait_until(lambda: operator.info("persistence")["rdb_last_bgsave_status"] == "ok")
    operator.close()


def configured(**options):
    def apply(server):
        operator = server.client()
        for name, value in options.items():
            operator.config_set(name.replace("_", "-"), value)
        operator.close()

    return apply


REFUSALS = {
    "MISCONF": (cannot_save, can_save),
    "OOM": (configured(maxmemory=1), configured(maxmemory=0)),
    "NOREPLICAS": (configured(min_replicas_to_write=1), configured(min_replicas_to_write=0)),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_redis_that_refuses_writes_commits_nothing_and_serves_every_read(
    client, redis_server, code
):
    post = follow_and_post(client)
    assert feed(client).json["data"] == [post]
    refuse, accept = REFUSALS[code]
    refuse(redis_server)
    for _ in range(20):
        assert is_unavailable(upload(client))
    ready = wait_until(lambda: (answer := client.get("/readyz")).status_code == 503 and answer)
    assert ready.json["down"] == ["Redis"]
    for address in ("/v1/feed", "/v1/accounts/8/posts", f"/v1/posts?ids={post['id']}"):
        assert client.get(address, headers=headers(9)).json["data"] == [post]
    accept(redis_server)
    assert wait_until(lambda: is_ready(client))
    newer = upload(client).json
    assert feed(client).json["data"] == [newer, post]


def test_a_busy_redis_is_a_503_until_its_script_ends(client, redis_server):
    post = follow_and_post(client)
    configured(busy_reply_threshold=1)(redis_server)
    operator = redis_server.client(socket_timeout=30)
    script = threading.Thread(target=_run_until_it_is_killed, args=(operator,))
    script.start()
    wait_until(lambda: feed(client).status_code == 503)
    assert is_unavailable(feed(client))
    assert is_unavailable(upload(client))
    with closing(redis_server.client()) as other:
        other.script_kill()
    script.join()
    operator.close()
    assert wait_until(lambda: is_ready(client))
    assert feed(client).json["data"] == [post]


def test_a_hung_redis_is_given_up_within_two_seconds_and_back_within_one(client, redis_server):
    post = follow_and_post(client)
    with redis_server.stopped():
        for ask in (lambda: feed(client), lambda: upload(client)):
            answer, seconds = timed(ask)
            assert is_unavailable(answer)
            assert seconds < 2
        answers = [timed(lambda: feed(client)) for _ in range(20)]
        assert all(is_unavailable(answer) for answer, _ in answers)
        assert sum(seconds for _, seconds in answers) < 2  # only one of them tried the server
        assert timed(lambda: client.get("/healthz"))[1] < 1
        assert is_unavailable(client.get("/readyz"))
    began = time.monotonic()
    assert wait_until(lambda: feed(client).status_code == 200)
    assert time.monotonic() - began < 1
    assert feed(client).json["data"] == [post]


def test_threads_do_not_hang_with_a_hung_redis(client, redis_server):
    follow_and_post(client)
    with redis_server.stopped():
        feed(client)
        taken = []
        threads = [
            threading.Thread(target=lambda: taken.append(timed(lambda: feed(client))[1]))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len([seconds for seconds in taken if seconds > 0.5]) <= 1


def test_a_connection_that_died_silently_is_replaced(redis_server, tmp_path):
    with (
        closing(Proxy(redis_server.port)) as proxy,
        serving(tmp_path, redis_url=f"redis://127.0.0.1:{proxy.port}/0") as client,
    ):
        post = follow_and_post(client)
        proxy.swallow_existing()
        answer, seconds = timed(lambda: feed(client))
        assert seconds < 2
        assert answer.json["data"] == [post]
        proxy.swallow_all()
        assert is_unavailable(feed(client))
        proxy.passes()
        assert wait_until(lambda: feed(client).status_code == 200, 2)


def test_a_demoted_primary_is_read_no_more(client, redis_server):
    """It keeps its connections and has older data than the new primary."""
    follow_and_post(client)
    feed(client)
    with closing(Redis()) as other, closing(redis_server.client()) as operator:
        operator.replicaof("127.0.0.1", other.port)
        wait_until(lambda: operator.info("replication")["master_link_status"] == "up")
        assert is_unavailable(feed(client))
        assert is_unavailable(upload(client))
        operator.replicaof("NO", "ONE")
        assert wait_until(lambda: feed(client).status_code == 200)


def _run_until_it_is_killed(operator):
    with pytest.raises(redis.ResponseError, match="killed"):
        operator.eval("while true do end", 0)
