"""A cluster with TLS, logins and access lists, and one that hangs. One node holds all slots."""

from __future__ import annotations

import signal
import time
from contextlib import closing

import pytest
import redis

from feedsvc.errors import StoreUnavailable
from feedsvc.settings import load_settings
from feedsvc.store import open_stores
from feedsvc.store.redis.client import connect, delete_everything, show_sign_of_life
from feedsvc.store.redis.commands import RedisRefuses, require
from tests.cluster import ValkeyCluster
from tests.conftest import TINY
from tests.engines import free_port, wait_until
from tests.environments.servers import Redis, TlsRedis
from tests.environments.test_redis import timed
from tests.world import World

PASSWORD = "p@ss:word,/ü"
ENCODED = "p%40ss%3Aword%2C%2F%C3%BC"
RIGHTS = "~* -@all +@read +@write +@scripting +@transaction +@connection +time -@dangerous"
OF_CLUSTERS = "+cluster|nodes +cluster|slots +command"


def clustered(**options):
    return {"cluster_enabled": "yes", "cluster_port": free_port(), **options}


def own_all_slots(client):
    client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
    wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")


@pytest.fixture
def node():
    with closing(Redis(**clustered())) as made, closing(made.client()) as operator:
        own_all_slots(operator)
        yield made


def url_of(node, login=""):
    return f"redis+cluster://{login}127.0.0.1:{node.port}"


@pytest.fixture
def open_world(database_url):
    opened = []

    def at(url):
        settings = load_settings({}, **TINY)
        opened.append(open_stores(settings, database_url=database_url, redis_url=url))
        return World(opened[-1])

    yield at
    for stores in opened:
        stores.close()


def uses_everything(world):
    world.add_followers(9, range(1, 5))
    post = world.post(9)
    world.drain()
    world.sweep()
    world.is_exact(*range(1, 5), 9)
    world.delete(9, post)
    world.mute(1, 9)
    delete_everything(world.stores.redis)
    return world.is_exact(*range(1, 5), 9)


@pytest.mark.parametrize("more", ["", "+info", "+flushdb"], ids=["neither", "INFO", "FLUSHDB"])
def test_a_user_with_an_access_list_and_an_encoded_password(node, open_world, more):
    with closing(node.client()) as operator:
        rights = f"{RIGHTS} {OF_CLUSTERS} {more}".split()
        operator.execute_command("ACL", "SETUSER", "feedsvc", "on", f">{PASSWORD}", *rights)
        url = url_of(node, f"feedsvc:{ENCODED}@")
        require(url)
        assert uses_everything(open_world(url))
        operator.execute_command("ACL", "SETUSER", "feedsvc", "-cluster|nodes")
        with pytest.raises(RedisRefuses, match="CLUSTER NODES"):
            require(url)


def test_a_cluster_with_tls_demands_the_authority_and_the_certificate(certificates, open_world):
    options = clustered(tls_cluster="yes", tls_replication="yes")
    with closing(TlsRedis(certificates, **options)) as node:
        with closing(redis.Redis.from_url(node.url)) as operator:
            own_all_slots(operator)
        plain = f"redis+cluster://127.0.0.1:{node.port}"
        url = f"{plain}?ssl=true&{TlsRedis.options_of(certificates)}"
        assert uses_everything(open_world(url))
        with pytest.raises(StoreUnavailable):
            connect(f"{plain}?ssl=true")
        with pytest.raises(StoreUnavailable):
            connect(plain)


def test_a_full_cluster_refuses_the_sign_of_life(node):
    with closing(connect(url_of(node))) as client, closing(node.client()) as operator:
        show_sign_of_life(client)
        operator.config_set("maxmemory", 1)
        with pytest.raises(StoreUnavailable) as refusal:
            show_sign_of_life(client)
        assert "OOM" in refusal.value.cause
        operator.config_set("maxmemory", 0)
        show_sign_of_life(client)


@pytest.mark.parametrize("hung", [1, 3], ids=["one-node", "every-node"])
def test_a_hung_cluster_is_given_up_within_two_seconds_and_back_within_one(hung):
    with closing(ValkeyCluster()) as nodes, closing(connect(nodes.url)) as client:
        client.set("a", 1)
        processes = [node.process for node in nodes.nodes[:hung]]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        taken = [timed(lambda: _answers(client)) for _ in range(8)]
        for process in processes:
            process.send_signal(signal.SIGCONT)
        assert not any(answered for answered, _ in taken)
        assert max(seconds for _, seconds in taken) < 2.2
        assert sum(seconds for _, seconds in taken) < 6
        began = time.monotonic()
        wait_until(lambda: _answers(client))
        assert time.monotonic() - began < 1
        assert client.get("a") == b"1"


def _answers(client):
    try:
        show_sign_of_life(client)
    except StoreUnavailable:
        return False
    return True
