"""Fixtures: clean stores on real engines, with tiny limits that make every edge case cheap."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import uuid
from pathlib import Path

import hypothesis
import jwt
import pytest
import sqlalchemy as sa

from feedsvc import create_app, logs
from feedsvc.settings import load_settings
from feedsvc.store import open_stores
from feedsvc.store.sql.tables import Post
from feedsvc.store.watermark import Watermark
from tests import cluster
from tests.engines import Databases
from tests.rabbitmq import RabbitMQ
from tests.world import World

# Concurrent writing transactions exist only on PostgreSQL. The largest scenario runs once, on one
# database. Real processes are killed on the engines of production.
collect_ignore = [
    *(
        ["test_locks.py", "test_open_transactions.py"]
        if os.environ.get("FEEDSVC_TEST_DATABASE", "sqlite") == "sqlite"
        else []
    ),
    *([] if os.environ.get("FEEDSVC_TEST_DATABASE", "sqlite") == "sqlite" else ["test_higgs.py"]),
    *(
        []
        if os.environ.get("FEEDSVC_TEST_BROKER") == "rabbitmq"
        else ["test_chaos.py", "test_rabbitmq.py"]
    ),
]
# No test measures its own speed, because the machine may be busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

LONG = ("test_higgs", "test_chaos", "test_machine")

TINY = {
    "feed_cap": 10,
    "feed_slack": 3,
    "fanout_batch": 3,
    "fanout_slice": 2,
    "feed_ttl_seconds": 3600,
    "promote_at": 1000,
    "demote_at": 1000,
}


@pytest.fixture(scope="session", autouse=True)
def logging_is_set_up():
    """Log to stderr, as commands do, so that logs never mix with the output that a test reads."""
    logs.configure(logging.WARNING)


@pytest.fixture(autouse=True)
def a_busy_machine_is_no_hung_redis(monkeypatch):
    monkeypatch.setattr("feedsvc.store.redis.client.TIMEOUT_SECONDS", 20.0)
    monkeypatch.setattr("feedsvc.store.redis.connection_pool._WAIT_SECONDS", 20.0)
    monkeypatch.setattr("feedsvc.store.redis.connection_pool._ASK_SECONDS", 20.0)


@pytest.fixture(scope="session")
def databases():
    with tempfile.TemporaryDirectory(prefix="fsd") as folder:
        made = Databases(Path(folder))
        yield made
        made.close()


@pytest.fixture(scope="session")
def valkey():
    server = cluster.start_redis()
    yield server
    server.close()


@pytest.fixture
def database_url(databases):
    with databases.fresh() as url:
        yield url


@pytest.fixture
def make_stores(database_url, valkey):
    """Return a function that opens stores on this test's database and a flushed Valkey.

    Each call acts like another process on the same servers.
    """
    opened = []

    def make(**limits):
        stores = open_stores(
            load_settings({}, **{**TINY, **limits}), database_url=database_url, redis_url=valkey.url
        )
        opened.append(stores)
        return stores

    make().redis.flushall()
    yield make
    for stores in opened:
        stores.close()


@pytest.fixture
def stores(make_stores):
    return make_stores()


@pytest.fixture(scope="session")
def rabbitmq():
    node = RabbitMQ()
    yield node
    node.close()


@pytest.fixture
def broker_url(request, valkey):
    """Return the URL of the broker that `FEEDSVC_TEST_BROKER` names."""
    broker = os.environ.get("FEEDSVC_TEST_BROKER", "valkey")
    return request.getfixturevalue("rabbitmq").url if broker == "rabbitmq" else valkey.broker_url


@pytest.fixture
def settings(tmp_path, database_url, valkey, broker_url, make_stores):
    """Return the settings of `create_app` that use this test's engines."""
    return {
        **TINY,
        "data_dir": str(tmp_path / "data"),
        "database_url": database_url,
        "redis_url": valkey.url,
        "broker_url": broker_url,
        "jwt_secret": uuid.uuid4().hex * 2,
    }


@pytest.fixture
def app(settings):
    made = create_app(**settings)
    yield made
    made.extensions["feedsvc"].close()


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def auth(settings):
    """Return a function that makes the headers of a caller: `auth(7)`, `auth(7, "admin:read")`.

    `**claims` replace claims of the token. A claim of None is left out.
    """

    def headers(
        account: int,
        scope: str = "feed",
        *,
        secret: str | None = None,
        algorithm: str = "HS256",
        **claims,
    ):
        payload = {"sub": str(account), "scope": scope, "exp": int(time.time()) + 600, **claims}
        payload = {name: value for name, value in payload.items() if value is not None}
        token = jwt.encode(payload, secret or settings["jwt_secret"], algorithm)
        return {"Authorization": f"Bearer {token}"}

    return headers


@pytest.fixture
def everything_is_settled(monkeypatch):
    """Raise the watermark to the highest post at each look, as if all posts were old."""

    def rise(watermark, sql, _redis):
        with sql.reading() as connection:
            highest = connection.scalar(sa.select(sa.func.max(Post.id))) or 0
        is_higher, watermark.value = watermark.value != highest, highest
        return is_higher

    monkeypatch.setattr(Watermark, "rise", rise)


@pytest.fixture
def world(stores):
    return World(stores)


def pytest_collection_modifyitems(items):
    """Run the longest tests first, so that none runs alone at the end."""
    items.sort(key=lambda item: item.path.stem not in LONG)
