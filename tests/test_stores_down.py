"""A store that is down: requests get a 503 and change nothing, and recover without a restart."""

from __future__ import annotations

import pytest
import redis

from feedsvc import create_app
from tests import cluster
from tests.engines import wait_until


@pytest.fixture
def own_valkey():
    server = cluster.start_redis()
    yield server
    server.close()


@pytest.fixture
def settings(settings, own_valkey):
    """Settings with a Valkey of this test's own, which the test may kill. The broker is shared."""
    return {**settings, "redis_url": own_valkey.url}


def is_unavailable(answer):
    assert answer.status_code == 503, answer.json
    assert answer.content_type == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert "Traceback" not in answer.text
    return True


def test_without_redis_every_request_changes_nothing_until_it_is_back(client, auth, own_valkey):
    client.put("/v1/accounts/me/following/8", headers=auth(9))
    client.put("/v1/accounts/8", headers=auth(8))
    client.put("/v1/accounts/me/following/8", headers=auth(9))
    upload = {"json": {"photo_url": "https://img.example/1.jpg"}, "headers": auth(8)}
    before = client.post("/v1/posts", **upload).json
    own_valkey.kill()
    assert is_unavailable(client.get("/v1/feed", headers=auth(9)))
    assert is_unavailable(client.post("/v1/posts", **upload))
    assert is_unavailable(client.delete(f"/v1/posts/{before['id']}", headers=auth(8)))
    assert is_unavailable(client.delete("/v1/accounts/me/following/8", headers=auth(9)))
    ready = client.get("/readyz")
    assert is_unavailable(ready)
    assert ready.json["down"] == ["Redis"]
    assert client.get("/healthz").status_code == 200
    own_valkey.start()
    assert wait_until(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/v1/feed", headers=auth(9)).json["data"] == [before]
    after = client.post("/v1/posts", **upload).json
    assert client.get("/v1/feed", headers=auth(9)).json["data"] == [after, before]


def test_without_a_database_the_answer_is_503_and_names_the_database(
    settings, auth, tmp_path, databases
):
    with databases.fresh() as url:
        app = create_app(**{**settings, "database_url": url})
        client = app.test_client()
        assert client.put("/v1/accounts/9", headers=auth(9)).status_code == 201
        engine = app.extensions["feedsvc"].stores.sql.engine
        connect = engine.pool._creator

        def down(*_):
            raise engine.dialect.loaded_dbapi.OperationalError("connection refused")

        engine.dispose()
        engine.pool._creator = down
        assert is_unavailable(client.get("/v1/accounts/9", headers=auth(9)))
        ready = client.get("/readyz")
        assert is_unavailable(ready)
        assert ready.json["down"] == ["database"]
        engine.pool._creator = connect
        assert client.get("/v1/accounts/9", headers=auth(9)).status_code == 200
        app.extensions["feedsvc"].close()


# A server that refuses writes in two ways, as an operator's commands, and the way back.
REFUSALS = {
    "full": (("CONFIG SET", "maxmemory", "1"), ("CONFIG SET", "maxmemory", "0")),
    "no-replicas": (
        ("CONFIG SET", "min-replicas-to-write", "1"),
        ("CONFIG SET", "min-replicas-to-write", "0"),
    ),
}


@pytest.fixture
def operate(own_valkey):
    """Return a function that runs a command on each server, without the service's client."""
    nodes = getattr(own_valkey, "nodes", None)
    operators = (
        [redis.Redis.from_url(own_valkey.url)] if nodes is None else [n.operator for n in nodes]
    )

    def run(*command):
        return [operator.execute_command(*command) for operator in operators]

    yield run
    for operator in operators:
        operator.close()


@pytest.fixture(params=REFUSALS)
def refusal(request):
    return REFUSALS[request.param]


def follow_and_post(client, auth):
    """Viewer 9 follows authors 7 and 8, and 8 has posted. Returns the post."""
    for author in (7, 8):
        client.put(f"/v1/accounts/{author}", headers=auth(author))
        client.put(f"/v1/accounts/9/following/{author}", headers=auth(9))
    client.put("/v1/accounts/9", headers=auth(9))
    for author in (7, 8):
        client.put(f"/v1/accounts/9/following/{author}", headers=auth(9))
    return upload(client, auth).json


def shown(client, auth, address):
    answer = client.get(address, headers=auth(9))
    assert answer.status_code == 200, answer.text
    return answer.json["data"]


def upload(client, auth, **headers):
    return client.post(
        "/v1/posts",
        json={"photo_url": "https://img.example/1.jpg"},
        headers={**auth(8), **headers},
    )


def test_a_redis_that_refuses_writes_gets_no_change_and_answers_every_read(
    client, auth, operate, refusal
):
    post = follow_and_post(client, auth)
    refuse, accept = refusal
    operate(*refuse)
    assert is_unavailable(upload(client, auth))
    assert is_unavailable(client.delete(f"/v1/posts/{post['id']}", headers=auth(8)))
    assert is_unavailable(client.delete("/v1/accounts/9/following/8", headers=auth(9)))
    ready = client.get("/readyz")
    assert is_unavailable(ready)
    for address in ("/v1/feed", "/v1/accounts/8/posts", f"/v1/posts?ids={post['id']},7"):
        for _ in range(2):
            assert shown(client, auth, address) == [post]
    operate(*accept)
    assert wait_until(lambda: client.get("/readyz").status_code == 200)
    newer = upload(client, auth).json
    assert client.get("/v1/feed", headers=auth(9)).json["data"] == [newer, post]


def test_a_cold_feed_is_read_from_the_database_while_redis_refuses_writes(
    app, client, auth, operate, refusal
):
    """Not one view is in Redis, and none can be stored: no relations, lists, log or post."""
    post = follow_and_post(client, auth)
    operate("FLUSHALL")
    refuse, accept = refusal
    operate(*refuse)
    for address in ("/v1/feed", "/v1/feed?limit=1", "/v1/accounts/8/posts"):
        assert shown(client, auth, address) == [post]
    assert client.get(f"/v1/posts/{post['id']}", headers=auth(9)).json == post
    operate(*accept)
    assert client.get("/v1/feed", headers=auth(9)).json["data"] == [post]


def test_a_change_whose_effect_is_refused_says_that_it_is_stored(
    client, auth, operate, monkeypatch
):
    follow_and_post(client, auth)
    monkeypatch.setattr("feedsvc.outbox.add_sign_of_life", lambda *_: None)  # full after it
    refuse, accept = REFUSALS["full"]
    operate(*refuse)
    refused = upload(client, auth, **{"Idempotency-Key": "a"})
    assert is_unavailable(refused)
    assert "The change is stored" in refused.json["detail"]
    operate(*accept)
    repeated = upload(client, auth, **{"Idempotency-Key": "a"})
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert client.get("/v1/feed", headers=auth(9)).json["data"][0] == repeated.json


def test_ids_and_viewers_that_never_were_leave_nothing_in_redis(client, auth, operate):
    client.put("/v1/accounts/9", headers=auth(9))
    invented = ",".join(map(str, range(10**12, 10**12 + 100)))
    assert client.get(f"/v1/posts?ids={invented}", headers=auth(9)).json["data"] == []
    for viewer in range(1000, 1040):
        answer = client.get(f"/v1/accounts/{viewer}/feed", headers=auth(9, "service"))
        assert answer.status_code == 404
        assert client.get(f"/v1/accounts/{viewer}/posts", headers=auth(9)).status_code == 404
    left = {key.partition(b":")[0] for keys in operate("KEYS", "*") for key in keys}
    assert left <= {b"run-id", b"figures", b"recent-celebrity-posts", b"celebrities"}


@cluster.single_server
def test_a_redis_that_became_a_replica_is_unavailable_until_it_is_a_primary(client, auth, operate):
    """It may lag behind the new primary, so nothing is read from it."""
    post = follow_and_post(client, auth)
    assert client.get("/v1/feed", headers=auth(9)).json["data"] == [post]
    operate("REPLICAOF", "127.0.0.1", "1")
    assert is_unavailable(client.get("/v1/feed", headers=auth(9)))
    assert is_unavailable(client.get(f"/v1/posts/{post['id']}", headers=auth(9)))
    assert is_unavailable(upload(client, auth))
    assert is_unavailable(client.get("/readyz"))
    operate("REPLICAOF", "NO", "ONE")
    assert client.get("/v1/feed", headers=auth(9)).json["data"] == [post]
