"""The posts in the near cache: shown without another read of Redis, and never after a change."""

from __future__ import annotations

import json

import pytest

from feedsvc import post_ids
from feedsvc.cache import post_bodies
from feedsvc.feed import reader
from feedsvc.posts import edit, publish
from feedsvc.store.near_cache.snapshot import GONE
from feedsvc.store.redis import invalidation_log, keys

VIEWER, AUTHOR = 1, 9


@pytest.fixture
def other(make_stores):
    """The same stores in another process."""
    return make_stores()


@pytest.fixture
def posts(world):
    """Three posts that this process has shown and cached."""
    world.add_followers(AUTHOR, [VIEWER])
    made = [world.post(AUTHOR) for _ in range(3)]
    for _ in range(2):
        assert shown(world) == made[::-1]
    assert all(cached_bodies(world, made))
    return made


def page(world):
    return [json.loads(item) for item in reader.home_page(world.stores, VIEWER, None, 10).items]


def shown(world):
    return [int(post["id"]) for post in page(world)]


def cached_bodies(world, post_ids):
    near_cache = world.stores.near_cache
    return near_cache.get_bodies(near_cache._snapshot, post_ids)


def test_a_post_that_another_process_deletes_is_gone_from_the_next_page(world, other, posts):
    edit.delete(other, AUTHOR, posts[1])
    assert shown(world) == [posts[2], posts[0]]


def test_a_post_that_another_process_edits_is_shown_as_edited(world, other, posts):
    edit.edit(other, AUTHOR, posts[1], description="an edited description")
    assert [post["description"] for post in page(world)] == ["", "an edited description", ""]


def test_a_post_that_is_deleted_after_it_was_read_is_not_cached(world, other, posts, monkeypatch):
    """A slow read has the post. Before it caches the post, the post is deleted, and another read of
    this process learns that, but asks for no post.
    """
    world.people(2)
    world.stores.near_cache._snapshot.bodies.clear()
    real, began = post_bodies.read, []

    def slow(stores, post_ids):
        found = real(stores, post_ids)
        if not began:
            began.append(True)
            edit.delete(other, AUTHOR, posts[1])
            assert world.read(2) == []
        return found

    monkeypatch.setattr(post_bodies, "read", slow)
    page(world)
    assert shown(world) == [posts[2], posts[0]]
    assert cached_bodies(world, posts)[1] in (None, GONE)


def test_no_cached_post_is_shown_after_the_log_was_lost(world, other, posts):
    edit.delete(other, AUTHOR, posts[1])
    world.stores.redis.delete(keys.INVALIDATION_LOG)
    assert shown(world) == [posts[2], posts[0]]


def test_a_snapshot_newer_than_the_near_cache_gets_no_cached_post(world, other, posts):
    snapshot = world.stores.near_cache._snapshot
    edit.delete(other, AUTHOR, posts[1])
    assert cached_bodies(world, posts)[1], "this process has not learnt it yet"
    stranger = other.near_cache.reload(*invalidation_log.position(other.redis), [])
    assert world.stores.near_cache.get_bodies(stranger, posts) == [None] * 3
    assert world.stores.near_cache.get_bodies(snapshot, posts)[1], (
        "a read that asked before the deletion may show it"
    )


def test_a_post_whose_id_was_read_before_it_existed_is_shown_after_its_upload(
    world, other, monkeypatch
):
    world.add_followers(AUTHOR, [VIEWER])
    assert shown(world) == []
    assert post_bodies.read_as_of(world.stores, world.stores.near_cache._snapshot, [12345]) == [
        None
    ]
    assert cached_bodies(world, [12345]) == [GONE]
    monkeypatch.setattr(post_ids, "draw", lambda *_: 12345)
    publish.publish(
        other, world.enqueue, AUTHOR, photo_url="https://img.example/1.jpg", description=""
    )
    assert shown(world) == [12345]


def test_many_deleted_posts_are_one_entry_of_the_log(world, other, posts):
    number = invalidation_log.position(other.redis)[1]
    post_bodies.forget(other, range(100, 200))
    assert invalidation_log.position(other.redis)[1] == number + 1
    shown(world)
    assert world.stores.redis.exists(*(f"post:{post}" for post in posts)) == 3
    edit.delete(other, AUTHOR, posts[0])
    post_bodies.forget(other, [*posts, *range(100, 200)])
    assert shown(world) == posts[:0:-1]
