"""After a process has died between two steps, a sweep and a read make every feed exact."""

from __future__ import annotations

import pytest

from feedsvc import outbox
from feedsvc.cache import celebrity_lists, post_bodies, relations
from feedsvc.fanout import chain, done
from feedsvc.feed import reader
from feedsvc.store.redis import delivery, leases, lists
from feedsvc.store.redis.faults import WriteRefused
from feedsvc.store.redis.keys import CELEBRITIES, INVALIDATION_LOG
from feedsvc.store.redis.round_trip import RoundTrip
from tests import cluster, steps


class Killed(BaseException):
    """The death of a process. The service does not catch it."""


@pytest.fixture
def dies_before(monkeypatch):
    """Return a function that makes the process die, once, before a step."""

    def arrange(module, name):
        real = getattr(module, name)

        def step(*args, **options):
            monkeypatch.setattr(module, name, real)
            raise Killed

        monkeypatch.setattr(module, name, step)

    return arrange


@pytest.fixture
def at_once(monkeypatch):
    """The sweep applies outbox rows of any age."""
    monkeypatch.setattr(outbox, "_GRACE", -outbox._GRACE)


EFFECTS = [
    outbox.PostPublished,
    outbox.PostsDeleted,
    outbox.Followed,
    outbox.RelationsChanged,
]


def raises(error):
    def raising(*_):
        raise error

    return raising


UPLOAD = [(celebrity_lists, "put"), (lists, "finish"), (outbox, "_delete")]
PUT_STAGES = 4


@pytest.mark.parametrize(("module", "name"), UPLOAD)
def test_the_sweep_mends_an_upload_that_was_cut_short_after_its_commit(
    world, dies_before, at_once, module, name
):
    world.add_followers(9, range(1, 5))
    world.is_exact(*range(1, 5))
    dies_before(module, name)
    with pytest.raises(Killed):
        world.post(9)
    world.sweep()
    [post] = world.read(9)
    world.oracle.post(9, post)
    assert world.is_exact(*range(1, 5), 9)
    world.drain()
    world.sweep()
    assert world.is_exact(*range(1, 5), 9)
    assert world.sweep().changes == 0


@pytest.mark.parametrize("stages", range(1, PUT_STAGES + 1))
def test_the_sweep_mends_an_upload_whose_put_was_cut_short_after_any_stage(
    world, monkeypatch, at_once, stages
):
    world.add_followers(9, range(1, 5))
    world.is_exact(*range(1, 5))

    class CutShort(RoundTrip):
        def run(self):
            assert len(self._stages) == PUT_STAGES
            del self._stages[stages:]
            super().run()
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(celebrity_lists, "RoundTrip", CutShort)
        with pytest.raises(Killed):
            world.post(9)
    world.sweep()
    [post] = world.read(9)
    world.oracle.post(9, post)
    assert world.is_exact(*range(1, 5), 9)


@cluster.single_server
def test_a_put_whose_list_is_refused_reaches_neither_celebrities_nor_the_log(world):
    """Otherwise a process learns of a post that is on no list and counts it as shown.

    Then no later poll returns the post. A nearly full server can refuse the list alone.
    """
    world.people(9)
    redis = world.stores.redis
    celebrity_lists.put(world.stores, 9, 1)  # the server has the scripts from now on
    redis.delete(CELEBRITIES, INVALIDATION_LOG)
    others = ("~celebrities", "~recent-celebrity-posts", "~post:*", "~run-id")
    redis.execute_command("ACL", "SETUSER", "default", "resetkeys", *others)
    try:
        with pytest.raises(WriteRefused):
            celebrity_lists.put(world.stores, 9, 2)
    finally:
        redis.execute_command("ACL", "SETUSER", "default", "allkeys")
    assert not redis.exists(CELEBRITIES, INVALIDATION_LOG)


CHANGES = [
    lambda world: world.follow(1, 8),
    lambda world: world.unfollow(1, 9),
    lambda world: world.mute(1, 9),
    lambda world: world.block(9, 1),
    lambda world: world.delete(9, world.first),
]


@pytest.mark.parametrize("change", CHANGES, ids=["follow", "unfollow", "mute", "block", "delete"])
def test_the_sweep_applies_a_change_that_was_cut_short_after_its_commit(
    world, monkeypatch, at_once, change
):
    world.add_followers(9, [1])
    world.people(8)
    world.first = world.post(9)
    world.post(8)
    world.drain()
    world.is_exact(1, 8, 9)
    with monkeypatch.context() as patched:
        for effect in EFFECTS:
            patched.setattr(effect, "apply", raises(Killed))
        with pytest.raises(Killed):
            change(world)
    assert world.sweep().changes >= 1
    change(world)
    assert world.is_exact(1, 8, 9)


REBUILD = [(lists, "open_to_build"), (lists, "finish")]


@pytest.mark.parametrize(("module", "name"), REBUILD)
def test_the_next_reader_takes_over_a_rebuild_that_was_cut_short(world, dies_before, module, name):
    world.add_followers(9, [1])
    world.post(9)
    dies_before(module, name)
    with pytest.raises(Killed):
        world.read(1)
    world.post(9)
    world.drain()
    world.sweep()
    assert world.is_exact(1)
    assert lists.read(world.stores.redis, world.stores.keys.homefeed(1)) is not None


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (relations, "_read"),
        (leases, "_read_or_lease"),
        (post_bodies, "_read_sql"),
        (celebrity_lists, "_read_sql"),
    ],
)
def test_the_next_reader_fills_a_view_whose_filling_was_cut_short(world, dies_before, module, name):
    world.add_followers(9, [1])
    world.post(9)
    world.stores.redis.flushdb()
    dies_before(module, name)
    with pytest.raises(Killed):
        reader.home_page(world.stores, 1, None, 10)
    assert world.is_exact(1)


LINK = [(chain, "_read_batch"), (delivery, "deliver"), (chain, "_note_progress"), (done, "write")]


@pytest.mark.parametrize(("module", "name"), LINK)
@pytest.mark.parametrize("nth", [0, 1, 2])
def test_the_sweep_carries_on_a_link_that_was_cut_short(world, dies_before, module, name, nth):
    world.add_followers(9, range(1, 8))
    world.is_exact(*range(1, 8))
    post = world.post(9)
    for _ in range(nth):
        world.run_link()
    dies_before(module, name)
    while world.queue:
        try:
            world.run_link()
        except Killed:
            assert world.is_exact(*range(1, 8), 9)
            world.sweep()
    world.sweep()
    assert world.is_exact(*range(1, 8), 9)
    for follower in range(1, 8):
        assert lists.read(world.stores.redis, world.stores.keys.homefeed(follower)).ids == [post]


def test_a_link_that_dies_before_any_step_pushes_into_each_feed_once(world, monkeypatch):
    viewers = range(1, 10)
    world.add_followers(9, range(1, 9))
    world.is_exact(*viewers)
    with steps.counted(monkeypatch):
        for after in range(100):
            post = world.post(9)
            answer, _ = steps.dies(world.run_link, after)
            world.sweep()
            world.drain()
            assert [
                follower for follower in viewers if _pushed(world, follower).count(post) != 1
            ] == [], f"dead before step {after}"
            if answer:
                break
    assert after > 3, "a link has steps"


def _pushed(world, follower):
    return lists.read(world.stores.redis, world.stores.keys.homefeed(follower)).ids
