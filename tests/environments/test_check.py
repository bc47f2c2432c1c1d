"""`feedsvc check` and `/readyz` on databases, Redis and brokers that are not as they must."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from feedsvc import create_app
from feedsvc.cli import check
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database
from tests.engines import wait_until
from tests.environments.calls import SECRET
from tests.environments.servers import PostgreSQL, Redis


def faults(settings, **changes):
    """Return what `check` finds wrong, by part."""
    given = {f"FEEDSVC_{name.upper()}": value for name, value in {**settings, **changes}.items()}
    return {each.part: each.found for each in check.findings(given) if each.state == "fault"}


def migrate_database(url):
    with closing(Database(url)) as opened:
        migrate.upgrade(opened)


@pytest.fixture
def settings(postgresql, database, redis_server):
    given = {
        "database_url": postgresql.url(database),
        "redis_url": redis_server.url,
        "broker_url": f"redis://127.0.0.1:{redis_server.port}/1",
        "jwt_secret": SECRET,
    }
    migrate_database(given["database_url"])
    return given


def test_what_a_database_lacks_is_named(postgresql, database, settings):
    assert faults(settings) == {}
    postgresql.execute("CREATE ROLE reader LOGIN")
    postgresql.execute(f"CREATE DATABASE {database}_latin ENCODING 'LATIN1' TEMPLATE template0")
    reader = {"database_url": postgresql.url(database).replace("root@", "reader@")}
    empty = {"database_url": postgresql.url("postgres").replace("root@", "reader@")}
    latin = {"database_url": postgresql.url(f"{database}_latin")}
    missing = {"database_url": postgresql.url("missing")}
    try:
        assert "permission denied" in faults(settings, **reader)["database"]
        grant = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
        postgresql.execute(grant, database)
        assert "posts" in faults(settings, **reader)["database rights"]
        assert "may not create" in faults(settings, **empty)["database rights"]
        assert faults(settings, **latin)["database encoding"] == "LATIN1"
        assert "does not exist" in faults(settings, **missing)["database"]
        postgresql.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        assert "read-only" in faults(settings)["database writes"]
    finally:
        postgresql.execute(f"ALTER DATABASE {database} RESET ALL")
        postgresql.execute(f"DROP DATABASE {database}_latin WITH (FORCE)")
        postgresql.execute("DROP OWNED BY reader", database)
        postgresql.execute("DROP ROLE reader")


def test_what_redis_and_the_broker_lack_is_named(redis_server, settings):
    with closing(redis_server.client()) as operator:
        operator.config_set("maxmemory", "1")
        assert "memory" in faults(settings)["Redis writes"]
        operator.config_set("maxmemory", "0")
        operator.config_set("maxmemory-policy", "allkeys-lru")
        assert set(faults(settings)) == {"Redis memory"}
        operator.config_set("maxmemory-policy", "noeviction")
        rights = "~* &* -@all +@read +@write +@scripting +@transaction +@connection +time"
        operator.execute_command(f"ACL SETUSER feeds on >hunter2 {rights} -@dangerous")
        limited = {"redis_url": settings["redis_url"].replace("//", "//feeds:hunter2@")}
        assert faults(settings, **limited) == {}
        operator.execute_command("ACL SETUSER feeds -zadd -ping -time")
        assert faults(settings, **limited) == {"Redis rights": "the user may not use TIME, ZADD"}
        operator.config_set("requirepass", "hunter2")
        assert {"Redis", "broker"} <= set(faults(settings))
    local = "amqp://guest:guest@127.0.0.1:5672"
    assert "virtual host" in faults(settings, broker_url=f"{local}/missing")["broker"]
    refused = faults(settings, broker_url=local.replace(":guest@", ":wrong@"))["broker"]
    assert refused.startswith("it refuses the login")


def ask(client, query=""):
    """Return the answer of `/readyz`, which comes soon."""
    began = time.monotonic()
    answer = client.get(f"/readyz{query}")
    assert time.monotonic() - began < 1.5
    return answer


def becomes(client, status, text=""):
    wait_until(
        lambda: (got := ask(client)).status_code == status and text in got.get_data(as_text=True),
        15,
    )
    assert ask(client, "?stores=no").status_code == 200
    return True


def test_readiness_follows_a_database_that_is_read_only_stopped_and_gone():
    with closing(PostgreSQL()) as postgresql, closing(Redis()) as server:
        given = {
            "database_url": postgresql.url(),
            "redis_url": server.url,
            "broker_url": f"redis://127.0.0.1:{server.port}/1",
            "jwt_secret": SECRET,
        }
        migrate_database(given["database_url"])
        with create_app(**given) as app:
            client = app.test_client()
            assert becomes(client, 200, "ready")
            postgresql.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            postgresql.execute("SELECT pg_reload_conf()")
            assert becomes(client, 503, "database (it is read-only)")
            postgresql.execute("ALTER SYSTEM RESET default_transaction_read_only")
            postgresql.execute("SELECT pg_reload_conf()")
            assert becomes(client, 200, "ready")
            with postgresql.stopped():
                assert becomes(client, 503, "database (it does not answer)")
            assert becomes(client, 200, "ready")
            postgresql.kill()
            assert becomes(client, 503, "database (it cannot be reached)")


def test_readiness_follows_a_redis_that_is_full_stopped_and_gone(settings, redis_server):
    with create_app(**settings) as app, closing(redis_server.client()) as operator:
        client = app.test_client()
        assert becomes(client, 200, "ready")
        operator.config_set("maxmemory", "1")
        assert becomes(client, 503, "Redis (its memory is full")
        operator.config_set("maxmemory", "0")
        assert becomes(client, 200, "ready")
        with redis_server.stopped():
            assert becomes(client, 503, "Redis (it does not answer)")
        assert becomes(client, 200, "ready")
        redis_server.kill()
        assert becomes(client, 503, "Redis (it cannot be reached)")
