"""A Redis that comes back with older data is emptied before any read: its views look valid."""

from __future__ import annotations

import pytest
import redis

from feedsvc.store.redis import keys
from tests import cluster
from tests.engines import Valkey, wait_until


@pytest.fixture
def valkey():
    """A server of this test's own, which can come back from a snapshot."""
    server = cluster.start_redis()
    yield server
    server.close()


FOLLOWERS = range(1, 5)


@pytest.fixture
def moved(world, valkey):
    """All followers have read. After that the snapshot was taken, and then a post was moved."""
    world.add_followers(9, FOLLOWERS)
    world.post(9)
    world.drain()
    world.sweep()
    world.is_exact(*FOLLOWERS)
    valkey.snapshot()
    world.post(9)
    world.drain()
    world.sweep()
    assert world.stores.redis.zscore(keys.CELEBRITIES, "9") is None
    return world


def test_a_redis_snapshot_without_the_latest_pushes_costs_no_post(moved, valkey):
    valkey.restart()
    assert moved.is_exact(*FOLLOWERS, 9)


def test_a_redis_snapshot_with_an_ended_relation_shows_no_hidden_post(moved, valkey):
    moved.mute(1, 9)
    moved.unfollow(2, 9)
    moved.block(9, 3)
    valkey.restart()
    assert moved.is_exact(*FOLLOWERS, 9)


def test_a_redis_snapshot_with_a_deleted_post_does_not_show_it_again(moved, valkey):
    moved.delete(9, moved.read(1)[1])
    valkey.restart()
    assert moved.is_exact(*FOLLOWERS, 9)


def test_a_redis_snapshot_with_an_older_cursor_starts_the_fan_out_again(moved, valkey):
    post = moved.post(9)
    moved.run_link()
    valkey.snapshot()
    moved.drain()
    moved.sweep()
    valkey.restart()
    assert moved.is_exact(*FOLLOWERS)
    assert not moved.stores.redis.exists(moved.stores.keys.fanout(post, 0, 0))


def test_a_link_does_not_write_to_a_server_of_another_run(moved, valkey):
    moved.post(9)
    moved.run_link()
    valkey.restart()
    moved.drain()
    moved.sweep()
    assert moved.is_exact(*FOLLOWERS, 9)


@cluster.single_server
def test_a_replica_that_lagged_is_emptied_at_its_promotion(moved, valkey):
    """The process goes on, as a replica of an older server and then as a primary again. Only its
    replication id changes.
    """
    behind = Valkey(port=True)
    try:
        (behind.folder / "dump.rdb").write_bytes((valkey.folder / "dump.rdb").read_bytes())
        behind.restart()
        operator = redis.Redis.from_url(valkey.url)
        operator.replicaof("127.0.0.1", behind.port)
        wait_until(lambda: operator.info("replication")["master_link_status"] == "up")
        operator.replicaof("NO", "ONE")
        operator.client_kill_filter(_type="normal", skipme=True)
        operator.close()
        assert moved.is_exact(*FOLLOWERS, 9)
    finally:
        behind.close()


def test_a_second_connection_to_a_run_deletes_nothing(moved, make_stores):
    run = moved.stores.redis.get(keys.run_id())
    moved.is_exact(1)
    assert make_stores().redis.llen(moved.stores.keys.homefeed(1)) == 3
    assert moved.stores.redis.get(keys.run_id()) == run


def test_two_processes_that_connect_at_once_delete_the_old_data_once(moved, valkey, make_stores):
    other = make_stores()
    valkey.restart()
    moved.is_exact(1)
    assert other.redis.exists(other.keys.homefeed(1)), (
        "the feed that the first process has built since stays"
    )
