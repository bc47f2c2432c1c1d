"""Fixtures: clean stores on real engines, with limits so tiny that every edge is near."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from pathlib import Path

import jwt
import pytest

from feedsvc import create_app
from feedsvc.settings import load_settings
from feedsvc.store import open_stores
from tests.engines import Databases, Valkey
from tests.world import World

# The largest scenario runs once, on one database.
collect_ignore = [] if os.environ.get("FEEDSVC_TEST_DATABASE", "sqlite") == "sqlite" else ["test_higgs.py"]

TINY = {
    "feed_cap": 10,
    "feed_slack": 3,
    "fanout_batch": 3,
    "fanout_slice": 2,
    "feed_ttl_seconds": 3600,
    "promote_at": 1000,
    "demote_at": 1000,
}


@pytest.fixture(scope="session")
def databases():
    with tempfile.TemporaryDirectory(prefix="fsd") as folder:
        made = Databases(Path(folder))
        yield made
        made.close()


@pytest.fixture(scope="session")
def valkey():
    server = Valkey()
    yield server
    server.close()


@pytest.fixture
def database_url(databases):
    with databases.fresh() as url:
        yield url


@pytest.fixture
def make_stores(database_url, valkey):
    """Opens stores on this test's database and a flushed Valkey; every call is another process's view of the same ones."""
    opened = []

    def make(**limits):
        stores = open_stores(load_settings({}, **{**TINY, **limits}), database_url=database_url, redis_url=valkey.url)
        opened.append(stores)
        return stores

    make().redis.flushall()
    yield make
    for stores in opened:
        stores.close()


@pytest.fixture
def stores(make_stores):
    return make_stores()


@pytest.fixture
def broker_url(valkey):
    """The broker that was asked for; on an AMQP server, a virtual host of its own is CI's business."""
    asked = os.environ.get("FEEDSVC_TEST_BROKER", "valkey")
    return valkey.broker_url if asked == "valkey" else asked


@pytest.fixture
def settings(tmp_path, database_url, valkey, broker_url, make_stores):
    """What `create_app` takes to run on this test's engines."""
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
    """The headers of a caller: `auth(7)`, `auth(7, "admin:read")`; `**claims` replace or, if None, remove claims."""

    def headers(account: int, scope: str = "feed", *, secret: str | None = None, algorithm: str = "HS256", **claims):
        payload = {"sub": str(account), "scope": scope, "exp": int(time.time()) + 600, **claims}
        payload = {name: value for name, value in payload.items() if value is not None}
        return {"Authorization": f"Bearer {jwt.encode(payload, secret or settings['jwt_secret'], algorithm)}"}

    return headers


@pytest.fixture
def world(stores):
    return World(stores)


def pytest_collection_modifyitems(items):
    """The longest test first, so that it does not run alone at the end."""
    items.sort(key=lambda item: item.path.stem != "test_higgs")
