"""A Redis with an access list, as managed servers have one."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from feedsvc import create_app
from feedsvc.cli import check
from feedsvc.cli.check_stores import ask_redis
from feedsvc.errors import StoreUnavailable
from feedsvc.fanout import broker_rights
from feedsvc.inspection.audit import audit
from feedsvc.settings import load_settings
from feedsvc.store import open_stores
from feedsvc.store.redis import keys, usage
from feedsvc.store.redis.client import delete_everything
from feedsvc.store.redis.commands import NEEDED, RedisRefuses, require
from tests.conftest import TINY
from tests.engines import wait_until
from tests.environments.calls import SECRET, pushes_a_post
from tests.environments.parts import Part
from tests.environments.servers import Redis
from tests.world import World

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
FOLLOWERS = range(1, 5)
# What a server allows beyond the documented line.
MANAGED = pytest.mark.parametrize(
    "more", [(), ("+info",), ("+flushdb",)], ids=["neither", "INFO", "FLUSHDB"]
)


@pytest.fixture
def server():
    """A server whose snapshots are kept, with the user of the documented line."""
    with closing(Redis()) as made:
        yield made


def allow(server, *more):
    """Make the documented user, with more rules. Returns the URL."""
    [line] = re.findall(r"^ACL SETUSER .*$", OPERATIONS.read_text(), re.MULTILINE)
    with closing(server.client()) as operator:
        operator.execute_command(*line.split(), *more)
    return f"redis://feedsvc:change-me@127.0.0.1:{server.port}/0"


@pytest.fixture
def open_world(database_url):
    """Return a function that opens a world on a Redis."""
    opened = []

    def at(url):
        settings = load_settings({}, **TINY)
        stores = open_stores(settings, database_url=database_url, redis_url=url)
        opened.append(stores)
        return World(stores)

    yield at
    for stores in opened:
        stores.close()


@MANAGED
def test_the_documented_user_can_do_everything_that_the_service_does(
    server, open_world, more, tmp_path
):
    url = allow(server, *more)
    require(url)
    world = open_world(url)
    world.add_followers(9, FOLLOWERS)
    posts = [world.post(9) for _ in range(12)]
    world.drain()
    world.sweep()
    world.is_exact(*FOLLOWERS, 9)
    world.delete(9, posts[3])
    world.mute(1, 9)
    world.unfollow(2, 9)
    world.is_exact(*FOLLOWERS, 9)
    assert audit(world.stores, 10).missing == []
    usage.sampled_reads(world.stores)
    assert world.stores.redis.exists(world.stores.keys.homefeed(3))
    delete_everything(world.stores.redis)
    assert not world.stores.redis.exists(world.stores.keys.homefeed(3))
    assert world.is_exact(*FOLLOWERS, 9)


@MANAGED
def test_a_server_that_comes_back_older_is_emptied_before_it_is_read(server, open_world, more):
    world = open_world(allow(server, *more))
    world.add_followers(9, FOLLOWERS)
    world.post(9)
    world.drain()
    world.sweep()
    world.is_exact(*FOLLOWERS)
    with closing(server.client()) as operator:
        operator.set("of-another", 1)
        operator.save()
    world.post(9)
    world.drain()
    world.sweep()
    world.unfollow(2, 9)
    server.kill()
    server.start()
    allow(server, *more)
    assert world.is_exact(*FOLLOWERS, 9)
    with closing(server.client()) as operator:
        assert bool(operator.exists("of-another")) == ("+flushdb" not in more)


@MANAGED
def test_a_primary_that_is_promoted_again_with_older_data_is_emptied(server, open_world, more):
    """No client connects while the server is a replica."""
    world = open_world(allow(server, *more))
    world.add_followers(9, FOLLOWERS)
    world.post(9)
    world.is_exact(*FOLLOWERS)
    with closing(Redis()) as successor, closing(server.client()) as operator:
        with closing(successor.client()) as other:
            other.replicaof("127.0.0.1", server.port)
            wait_until(lambda: other.info("replication")["master_link_status"] == "up")
            other.replicaof("NO", "ONE")
        elsewhere = open_world(allow(successor, *more))
        elsewhere.oracle = world.oracle
        elsewhere.is_exact(*FOLLOWERS)
        operator.replicaof("127.0.0.1", successor.port)
        operator.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: operator.info("replication")["master_link_status"] == "up")
        operator.replicaof("NO", "ONE")
        elsewhere.unfollow(2, 9)
        elsewhere.mute(3, 9)
        elsewhere.post(9)
        assert world.is_exact(*FOLLOWERS, 9)


@pytest.mark.parametrize("more", [(), ("+info",)], ids=["neither", "INFO"])
def test_a_second_connection_deletes_nothing(server, open_world, more):
    url = allow(server, *more)
    world = open_world(url)
    world.add_followers(9, FOLLOWERS)
    world.is_exact(1)
    with closing(server.client()) as operator:
        operator.client_kill_filter(_type="normal", skipme=True)
    other = open_world(url)
    assert other.stores.redis.exists(world.stores.keys.homefeed(1))
    assert world.stores.redis.exists(world.stores.keys.homefeed(1))


def test_many_keys_of_another_run_are_deleted_in_steps_and_nothing_is_read_meanwhile(
    server, open_world, monkeypatch
):
    world = open_world(allow(server))
    with closing(server.client()) as operator:
        pipe = operator.pipeline(transaction=False)
        for number in range(5_000):
            pipe.set(keys.post(number), "=old")
        pipe.execute()
        monkeypatch.setattr("feedsvc.store.redis.runs._DELETE_SECONDS", 0.0)
        with pytest.raises(StoreUnavailable) as refusal:
            world.stores.redis.get(keys.post(7))
        assert "being deleted" in refusal.value.cause
        assert 0 < operator.dbsize() < 5_000
        wait_until(lambda: _reads(world.stores.redis, keys.post(7)))
        assert world.stores.redis.get(keys.post(7)) is None
        assert operator.dbsize() <= 1


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (("-lpushx", "-zadd"), "LPUSHX, ZADD"),
        (("-script|load",), "SCRIPT LOAD"),
        (("-@all",), "EVAL"),
    ],
)
def test_a_forbidden_command_is_one_line_at_the_start(server, tmp_path, rules, named):
    url = allow(server, *rules)
    with pytest.raises(RedisRefuses, match=named) as refusal:
        create_app(data_dir=str(tmp_path), redis_url=url)
    assert "\n" not in str(refusal.value)
    assert "change-me" not in str(refusal.value)


def broker_faults(url):
    """Return what `check` says of a broker on another database of the server."""
    given = {
        "FEEDSVC_DATABASE_URL": "sqlite:////nowhere/db",
        "FEEDSVC_REDIS_URL": url,
        "FEEDSVC_BROKER_URL": f"{url[:-1]}1",
    }
    return {each.found for each in check.findings(given) if each.part == "broker"}


def test_what_a_redis_lacks_as_a_broker_is_named_by_check_and_at_the_start(server, tmp_path):
    is_fine = "takes messages, with every right that is needed"
    url = allow(server)
    assert broker_faults(url) == {"the user lacks PUBLISH, PSUBSCRIBE, PUNSUBSCRIBE"}
    done = _run(tmp_path, url, "worker")
    assert done.returncode == 1
    assert done.stderr == (
        "error: the broker cannot be used: the user lacks PUBLISH, PSUBSCRIBE, PUNSUBSCRIBE "
        "(check FEEDSVC_BROKER_URL)\n"
    )
    allow(server, "+@pubsub", "+@blocking")
    assert broker_faults(url) == {is_fine}
    allow(server, "+@pubsub", "-brpop")
    assert broker_faults(url) == {"the user lacks BRPOP"}
    allow(server, "+@pubsub", "+@blocking", "resetchannels", "&/0*")
    assert broker_faults(url) == {"the user lacks the channel /1.celery.pidbox.feedsvc.check"}
    some = ("%R~*", "~feedsvc*", "~sign-of-life")
    allow(server, "+@pubsub", "+@blocking", "allchannels", "resetkeys", *some)
    [found] = broker_faults(url)
    assert "the key unacked_index" in found
    with closing(server.client(db=1)) as operator:
        assert operator.keys("*") == []


@MANAGED
def test_keys_that_follow_a_flush_are_not_taken_for_another_programs(server, open_world, more):
    url = allow(server, *more)
    world = open_world(url)
    world.add_followers(9, FOLLOWERS)
    world.post(9)
    with closing(server.client()) as operator:
        operator.flushdb()
        world.post(9)
        world.is_exact(1)
        assert operator.dbsize() > 0

        def contents():
            return [each.found for each in ask_redis(url) if each.part == "Redis contents"]

        assert contents() == []
        operator.flushdb()
        operator.set("of-another", 1)
        assert contents() == ["keys of another program, such as of-another"]


def exact(server, name, calls):
    """Make a user that may use the commands of the calls alone. Returns the URL of its login."""
    pairs = {"|".join(call[:2]) if call[0] == "SCRIPT" else call[0] for call in calls}
    with closing(server.client()) as operator:
        allowed = (f"+{each}" for each in ("SELECT", *pairs))
        operator.execute_command("ACL", "SETUSER", name, "on", "nopass", "~*", "&*", *allowed)
    return f"redis://{name}:any@127.0.0.1:{server.port}"


def test_the_commands_that_are_asked_for_are_all_that_the_parts_send(server, tmp_path):
    calls = [*broker_rights.REDIS_CALLS, ("PUBLISH",), ("PSUBSCRIBE",), ("PUNSUBSCRIBE",)]
    settings = {
        "redis_url": f"{exact(server, 'store', NEEDED)}/0",
        "broker_url": f"{exact(server, 'broker', calls)}/1",
        "data_dir": tmp_path,
        "jwt_secret": SECRET,
    }
    feedsvc = (sys.executable, "-m", "feedsvc")
    with (
        create_app(**settings | {"data_dir": str(tmp_path)}) as app,
        closing(Part(*feedsvc, "worker", **settings)) as worker,
        closing(Part(*feedsvc, "beat", **settings)) as beat,
    ):
        assert pushes_a_post(app, 60)
        assert app.extensions["feedsvc"].celery.control.ping(timeout=5)
        assert (worker.stop(), beat.stop()) == (0, 0)
    with closing(server.client(decode_responses=True)) as operator:
        refused = {each["object"].upper() for each in operator.acl_log()}
    # They are used where a server allows them.
    assert refused <= {"CLIENT|SETINFO", "FLUSHDB", "INFO"}


def test_a_task_that_redis_refuses_is_one_line_in_the_log(server, tmp_path):
    """Celery's own command does not ask Redis at its start."""
    url = allow(server, "-zadd")
    environment = {
        "data_dir": tmp_path,
        "redis_url": url,
        "broker_url": f"redis://127.0.0.1:{server.port}/1",
    }
    celery = (sys.executable, "-m", "celery", "-A", "feedsvc.celery")
    with (
        closing(Part(*celery, "worker", "--pool", "solo", **environment)) as worker,
        closing(Part(*celery, "beat", **environment)),
    ):
        worker.wait_for_text('"task": "feedsvc.sweep"', 60)
        line = next(each for each in worker.output().splitlines() if '"feedsvc.sweep"' in each)
        assert "it forbids the user ZADD" in line
        assert "task.refused" in line
        assert worker.stop() == 0
        assert "Traceback" not in worker.output()


def test_a_wrong_password_or_database_is_one_line_from_every_command(server, tmp_path):
    url = allow(server, "+@pubsub", "+@blocking")
    for bad, words in (
        (url.replace("change-me", "changed"), "refuses the login"),
        (url[:-1] + "99", "DB index is out of range"),
    ):
        done = _run(tmp_path, bad, "worker")
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert words in done.stderr
        assert ". (" not in done.stderr
        assert "changed" not in done.stderr


def test_the_last_database_leaves_none_for_the_broker(server, tmp_path):
    done = _run(tmp_path, f"redis://127.0.0.1:{server.port}/15", "up", "--port", "0")
    assert done.returncode == 1
    assert "FEEDSVC_BROKER_URL" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def _reads(client, key):
    try:
        client.get(key)
    except StoreUnavailable:
        return False
    return True


def _run(folder, redis_url, *command):
    environment = {
        "PATH": "/usr/bin:/bin",
        "FEEDSVC_DATA_DIR": str(folder),
        "FEEDSVC_REDIS_URL": redis_url,
    }
    return subprocess.run(
        [sys.executable, "-m", "feedsvc", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
