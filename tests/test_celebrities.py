"""The set `celebrities`: it has every author with a post on its celebrity list, perhaps more."""

from __future__ import annotations

import pytest

from feedsvc.cache import celebrity_lists
from feedsvc.store.redis import celebrities, keys, lists
from feedsvc.store.redis.keys import CELEBRITIES
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.redis.scripts import REMOVE_AUTHOR
from tests.views import put_post

POST = 1 << 48


def make_valid(stores, *authors):
    marker = celebrities.open_to_build(stores.redis)
    celebrities.finish(stores.redis, marker, authors)


def read(stores):
    return celebrities.read_few(stores.redis, 100)


def test_an_absent_set_is_not_an_empty_set(stores):
    assert read(stores) is None


def test_a_put_into_an_absent_set_does_not_make_it_valid(stores):
    celebrity_lists.put_author(stores.redis, 7)
    assert read(stores) is None
    make_valid(stores, 5)
    assert read(stores) == {5, 7}


def test_an_author_that_was_put_again_is_not_removed(stores):
    make_valid(stores)
    celebrity_lists.put_author(stores.redis, 7)
    number = stores.redis.zscore(CELEBRITIES, "7")
    celebrity_lists.put_author(stores.redis, 7)
    assert not REMOVE_AUTHOR.run(stores.redis, [CELEBRITIES], 7, int(number))
    assert read(stores) == {7}


def test_an_author_leaves_with_the_last_post_of_a_complete_list(stores):
    """One call takes posts off five lists: two of two posts, one with a floor, one that is being
    built, and one that is absent."""
    make_valid(stores, 1, 2, 3, 4, 5)
    for author, floor in (1, 0), (2, 0), (3, 9):
        lists.build(
            stores.redis,
            keys.celebrity_posts(author),
            stores.limits,
            lambda floor=floor: FloorList([POST], floor),
        )
    for author in 1, 2, 4:
        put_post(stores, author, POST + author)
    celebrities.take_off(
        stores.redis, {POST + 1: 1, POST + 2: 2, POST + 3: 3, POST + 4: 4, POST + 5: 5, POST: 1}
    )
    assert read(stores) == {2, 3, 4, 5}
    assert [lists.read(stores.redis, keys.celebrity_posts(author)) for author in range(1, 6)] == [
        FloorList([], 0),
        FloorList([POST], 0),
        FloorList([POST], 9),
        None,
        None,
    ]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_lost_celebrity_list_is_not_an_empty_list(world, is_new):
    world.add_followers(9, [1])
    world.is_exact(1, 9)
    world.post(9)
    world.post(9)
    if is_new:
        world.stores = world.stores.with_empty_near_cache()
    world.stores.redis.delete(keys.celebrity_posts(9))
    assert world.is_exact(1, 9)


def test_sql_answers_below_the_highest_floor_of_the_cached_lists(world):
    """The home list is complete, but the oldest posts of a long celebrity list are in SQL only."""
    world.add_followers(9, [1])
    world.is_exact(1)
    world.pull_all()
    for _ in range(30):
        world.post(9)
    world.is_exact(1)  # this caches the list
    world.is_exact(1)
