"""A store that is down: requests get a 503 and change nothing, and recover without a restart."""

from __future__ import annotations

import pytest

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
