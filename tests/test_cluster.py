"""A cluster: each node's run is checked, no replica is asked, and a read keeps its order."""

from __future__ import annotations

from collections import Counter

import pytest
import redis

from feedsvc.errors import StoreUnavailable
from feedsvc.feed import reader
from feedsvc.store.redis import keys
from feedsvc.store.redis.client import connect, delete_everything, show_sign_of_life
from feedsvc.store.redis.round_trip import RoundTrip, read_strings
from tests.cluster import ValkeyCluster
from tests.engines import wait_until

FOLLOWERS = range(1, 24)


@pytest.fixture(scope="module")
def valkey():
    """A cluster of this file's own, even if the other tests run on a single server."""
    servers = ValkeyCluster()
    yield servers
    servers.close()


@pytest.fixture
def world(world):
    world.add_followers(99, FOLLOWERS)
    assert world.is_exact(*FOLLOWERS)
    return world


def stored(world):
    """Return the followers that have a stored feed."""
    return {
        account
        for account in FOLLOWERS
        if world.stores.redis.exists(world.stores.keys.homefeed(account))
    }


def test_feeds_and_the_progress_beside_them_are_spread_over_the_nodes(world, valkey):
    post = world.post(99)
    world.run_link()
    feeds = [node.operator.keys("homefeed:*") for node in valkey.nodes]
    assert [len(names) for names in feeds] == [7, 8, 8]
    progress = Counter(
        name.decode().count(str(post))
        for node in valkey.nodes
        for name in node.operator.keys("fanout:*")
    )
    assert progress == {1: 23}
    world.drain()
    assert world.is_exact(*FOLLOWERS, 99)


def test_each_node_stores_its_run_in_a_slot_of_its_own(world, valkey):
    assert [len(node.operator.keys("run-id:*")) for node in valkey.nodes] == [1, 1, 1]


def test_only_the_node_that_comes_back_with_older_data_is_emptied(world, valkey):
    before = stored(world)
    valkey.snapshot()
    world.post(99)
    world.drain()
    world.sweep()
    node = valkey.nodes[1]
    lost = {int(name.rpartition(b":")[2]) for name in node.operator.keys("homefeed:*")}
    node.comes_back_older()
    assert stored(world) == before - lost
    assert world.is_exact(*FOLLOWERS, 99)
    valkey.forget_snapshot()


def test_a_node_does_not_take_the_stored_run_of_another_node_for_its_own(world, valkey):
    """A slot that moves brings the stored run of its former node along."""
    node = valkey.nodes[0]
    [name] = node.operator.keys("run-id:*")
    node.operator.set(name, b"another run")
    node.operator.client_kill_filter(_type="normal", skipme=True)
    lost = {int(name.rpartition(b":")[2]) for name in node.operator.keys("homefeed:*")}
    assert stored(world) == set(FOLLOWERS) - lost


def test_everything_is_deleted_on_every_node(world, valkey):
    delete_everything(world.stores.redis)
    assert [
        [name for name in node.operator.keys("*") if not name.startswith(b"run-id:")]
        for node in valkey.nodes
    ] == [[], [], []]
    assert world.is_exact(*FOLLOWERS)


def test_a_read_asks_for_the_home_list_after_the_celebrity_lists(world, monkeypatch):
    """Between the nodes of a cluster only an answer orders two commands."""
    world.post(99)
    asked = []

    class Moving(RoundTrip):
        """Runs each stage as a trip of its own, and moves the post before the last stage."""

        def run(self):
            stages = self._stages
            for number, stage in enumerate(stages):
                if number == len(stages) - 1 and asked:
                    world.drain()
                    world.sweep()
                self._stages = [stage]
                super().run()
            asked.append(len(stages))

    monkeypatch.setattr(reader, "RoundTrip", Moving)
    assert world.is_exact(1)
    assert all(stages > 1 for stages in asked)


def test_a_cluster_that_misses_a_node_is_unavailable_and_recovers():
    servers = ValkeyCluster()
    client = connect(servers.url)
    try:
        show_sign_of_life(client)
        servers.nodes[2].kill()
        with pytest.raises(StoreUnavailable):
            show_sign_of_life(client)
        with pytest.raises(StoreUnavailable):
            read_strings(client, [f"post:{number}" for number in range(100)])
        servers.nodes[2].start()
        assert wait_until(lambda: answers(client))
    finally:
        client.close()
        servers.close()


def test_a_replica_is_not_asked_and_is_emptied_if_it_lags_at_its_promotion():
    servers = ValkeyCluster()
    primary, replica = servers.nodes[0], servers.add_replica(of=0)
    client = connect(servers.url)
    name = next(
        f"post:{number}" for number in range(100) if client.keyslot(f"post:{number}") < 5461
    )
    try:
        client.set(name, "old")
        primary.operator.wait(1, 1_000)
        with pytest.raises(redis.ConnectionError, match="is no primary"):
            client.nodes_manager.create_redis_node(
                "127.0.0.1", replica.port, **client.nodes_manager.connection_kwargs
            ).ping()
        primary.kill()
        replica.operator.execute_command("CLUSTER FAILOVER", "TAKEOVER")
        wait_until(lambda: answers(client))
        assert client.get(name) is None
    finally:
        client.close()
        servers.close()


def answers(client):
    try:
        show_sign_of_life(client)
    except StoreUnavailable:
        return False
    return True


def test_accounts_of_every_bucket_find_their_keys_in_one_slot(stores):
    for account in range(1, 2 * keys.CLUSTER_BUCKETS):
        bucket = stores.keys.bucket(account)
        names = [
            stores.keys.homefeed(account),
            stores.keys.relations(account),
            stores.keys.fanout(7, bucket, 0),
            stores.keys.fanout(7, bucket, 3),
        ]
        assert len({stores.redis.keyslot(name) for name in names}) == 1
