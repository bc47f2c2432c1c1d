"""The near cache within a budget: copies may be evicted at any moment, and every read is exact."""

from __future__ import annotations

import math
import threading
import time
import tracemalloc
from collections import Counter
from contextlib import closing
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc import paging
from feedsvc.cache import celebrity_lists
from feedsvc.feed import reader
from feedsvc.store.near_cache import authors as near_authors
from feedsvc.store.near_cache import sizes
from feedsvc.store.near_cache.authors import Load
from feedsvc.store.near_cache.cache import NearCache
from feedsvc.store.near_cache.clock_cache import ClockCache
from feedsvc.store.near_cache.snapshot import Body, CachedList
from feedsvc.store.redis import celebrities, client, invalidation_log, keys
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.redis.round_trip import RoundTrip
from tests.engines import Valkey
from tests.test_celebrities import make_valid
from tests.test_near_cache import (
    Late,
    ask,
    celebrities_in,
    ids_of,
    learn,
    read_snapshot,
    receive,
    take_off,
)
from tests.world import World

POST = 1 << 48
MARKER = b"marker"


def copy_of(*ids, floor=0):
    return CachedList.of(FloorList(list(ids), floor))


def room_for(lists):
    """Return a budget with room for this many lists of one post, beside nothing else."""
    needed = lists * sizes.list_bytes(1)
    # A sixteenth of the budget is for the index of recent posts.
    return -(-needed * 16 // 15) + 16


# What fits


numbers = st.integers(1, 30)
operations = st.one_of(
    st.tuples(st.just("lists"), st.dictionaries(numbers, st.integers(0, 8), max_size=12)),
    st.tuples(st.just("bodies"), st.dictionaries(numbers, st.integers(0, 900), max_size=12)),
    st.tuples(st.just("put"), numbers),
    st.tuples(st.just("change"), numbers),
    st.tuples(st.just("read"), st.sets(numbers)),
)


@given(st.integers(0, 6_000), st.lists(operations, max_size=40))
def test_the_near_cache_never_exceeds_its_budget_and_counts_every_byte(budget, done):
    near_cache = NearCache(longest_list=12, budget=budget)
    now = near_cache.reload(MARKER, 1, [])
    for kind, what in done:
        if kind == "lists":
            lists = {author: copy_of(*range(1, count + 1)) for author, count in what.items()}
            near_cache.store_lists(now, {each: lists[each] for each in lists if lists[each].ids})
        elif kind == "bodies":
            near_cache.store_bodies(
                now, {post: Body(1, bytes(size)) for post, size in what.items()}
            )
        elif kind == "read":
            near_cache.get_lists(now, what)
            near_cache.get_bodies(now, list(what))
        else:
            learn_put(near_cache, what if kind == "put" else invalidation_log.NO_AUTHOR, what)
        now = near_cache._snapshot
        assert near_cache.copies.lists.used_bytes == sum(
            sizes.list_bytes(len(each.ids)) for each in now.lists.values()
        )
        assert near_cache.copies.bodies.used_bytes == sum(
            sizes.body_bytes(len(each.json)) for each in now.bodies.values()
        )
        assert near_cache.used_bytes <= budget


def learn_put(near_cache, author, post):
    """Apply the next entry of the log, as a read that asked for it."""
    asked = near_cache._snapshot
    number = asked.number + 1
    near_cache._learn(asked, [(f"{number}:{author}:{post}".encode(), number), (MARKER, math.inf)])


def test_the_formulas_tell_the_memory_that_copies_take():
    """How full a dictionary is moves the measured size of an entry by a fifth."""
    kinds = [
        (lambda at: copy_of(*range(POST + at, POST + at + 3)), sizes.list_bytes(3)),
        (lambda at: copy_of(*range(POST + at, POST + at + 90)), sizes.list_bytes(90)),
        (lambda at: Body(POST + at, bytes(300)), sizes.body_bytes(300)),
    ]
    for make, expected in kinds:
        copies = ClockCache(lambda _: 1)
        tracemalloc.start()
        for at in range(3_000):
            key = POST + at
            copies.store({key: make(at)}, room=1)
            copies.count([key], hits=1, misses=0)
        taken = tracemalloc.get_traced_memory()[0] / 3_000
        tracemalloc.stop()
        assert 0.65 * expected < taken <= 1.1 * expected


# What is kept


def test_lists_that_all_others_use_outlive_the_long_tail_of_one_reader():
    """Twenty readers use ten lists. One reader follows a thousand authors that no other reader
    follows, and reads as often as each of the others.
    """
    near_cache = NearCache(longest_list=12, budget=room_for(100))
    now = near_cache.reload(MARKER, 1, None)
    tail, popular = range(1_000, 2_000), range(1, 11)
    missed = Counter()
    for turn in range(30):
        for authors in [popular] * 20 + [tail]:
            now = near_cache._snapshot
            _, missing = near_cache.get_lists(now, authors)
            near_cache.store_lists(now, {author: copy_of(POST + author) for author in missing})
            missed[authors] += len(missing) if turn >= 2 else 0
    assert missed[popular] == 0
    assert near_cache.copies.lists.evictions < 30 * 5, "few lists of the tail are cached at all"


def test_a_list_that_finds_no_room_is_cached_at_its_second_miss():
    near_cache = NearCache(longest_list=12, budget=room_for(40))
    now = near_cache.reload(MARKER, 1, None)
    near_cache.store_lists(now, {author: copy_of(POST + author) for author in range(1, 60)})
    assert len(near_cache.copies.lists.entries) == 40
    for is_cached in (False, True):
        now = near_cache._snapshot
        near_cache.store_lists(now, {99: copy_of(POST + 99)})
        assert (99 in near_cache.copies.lists.entries) == is_cached
    assert near_cache.copies.lists.evictions == 1
    assert len(near_cache.copies.lists.entries) == 40


def test_a_list_that_is_larger_than_all_the_room_evicts_no_other_list():
    near_cache = NearCache(longest_list=10_000, budget=room_for(40))
    now = near_cache.reload(MARKER, 1, None)
    near_cache.store_lists(now, {author: copy_of(POST + author) for author in range(1, 60)})
    for _ in range(3):
        near_cache.store_lists(near_cache._snapshot, {99: copy_of(*range(POST, POST + 9_000))})
    assert len(near_cache.copies.lists.entries) == 40
    assert near_cache.copies.lists.evictions == 0


def test_the_hand_spares_a_marked_list_once():
    near_cache = NearCache(longest_list=12, budget=room_for(4))
    now = near_cache.reload(MARKER, 1, None)
    near_cache.store_lists(now, {author: copy_of(POST + author) for author in range(1, 6)})
    near_cache.get_lists(near_cache._snapshot, [1, 2])
    for author, evicted in ((8, 3), (9, 4)):
        for _ in range(2):
            near_cache.store_lists(near_cache._snapshot, {author: copy_of(POST + author)})
        assert evicted not in near_cache.copies.lists.entries
    assert sorted(near_cache.copies.lists.entries) == [1, 2, 8, 9]


def test_posts_leave_lists_their_share_of_the_room():
    near_cache = NearCache(longest_list=12, budget=room_for(100))
    now = near_cache.reload(MARKER, 1, None)
    near_cache.store_bodies(now, {post: Body(1, bytes(100)) for post in range(1, 1_000)})
    assert near_cache.copies.bodies.used_bytes > sizes.list_bytes(1) * 95
    near_cache.store_lists(now, {author: copy_of(POST + author) for author in range(1, 200)})
    assert len(near_cache.copies.lists.entries) == 75


def test_hits_misses_and_evictions_are_counted():
    near_cache = NearCache(longest_list=12, budget=room_for(2))
    near_cache.reload(MARKER, 1, None)
    for author in (1, 2, 3, 3, 3):
        near_cache.get_lists(near_cache._snapshot, [author])
        near_cache.store_lists(near_cache._snapshot, {author: copy_of(POST + author)})
    near_cache.get_bodies(near_cache._snapshot, [7, 8])
    assert near_cache.copies.counts() == {
        ("hits", "list"): 1,
        ("misses", "list"): 4,
        ("evictions", "list"): 1,
        ("hits", "post"): 0,
        ("misses", "post"): 2,
        ("evictions", "post"): 0,
    }


# What is exact


@pytest.mark.parametrize("budget", [0, 1_000, 2_000, 4_000])
def test_feeds_are_exact_with_almost_no_room(make_stores, budget):
    world = World(make_stores(near_cache_bytes=budget))
    world.pull_all()
    world.people(*range(1, 13))
    for follower in range(1, 7):
        for followee in range(1, 13):
            if follower != followee:
                world.follow(follower, followee)
    made = []
    for turn in range(40):
        made.append((turn % 12 + 1, world.post(turn % 12 + 1)))
        if turn % 7 == 6:
            world.delete(*made.pop(turn // 7))
        assert world.is_exact(turn % 6 + 1)
    assert world.is_exact(*range(1, 13))
    assert world.stores.near_cache.used_bytes <= budget


def test_an_author_that_left_the_set_since_the_snapshot_has_its_post_in_the_home_list(
    make_stores, monkeypatch
):
    """The near cache does not hold the set. Between the first round trip of a read and its question
    for the followees, a post moves from the celebrity list to the home list. The process has learnt
    of the post's put before.
    """
    world = World(make_stores(near_cache_bytes=0))
    world.add_followers(9, [1])
    world.people(2)
    assert world.is_exact(1)
    world.post(9)
    assert world.is_exact(2)
    find = celebrities.find

    def find_later(redis, authors):
        world.drain()
        world.sweep()
        assert not find(redis, authors)
        return find(redis, authors)

    monkeypatch.setattr(celebrities, "find", find_later)
    feed = reader.read_feed(world.stores, 1)
    assert [item.id for item in feed.below(paging.TOP, 3)] == world.oracle.feed(1)


def test_an_absent_set_is_asked_from_sql_and_filled_by_one_reader(make_stores, monkeypatch):
    """Another reader has claimed the set, and has died."""
    monkeypatch.setattr(near_authors, "SPREAD_SECONDS", 10**9)
    world = World(make_stores())
    world.add_followers(9, [1])
    world.post(9)
    assert world.is_exact(1)
    world.stores.redis.flushall()
    assert celebrities.claim(world.stores.redis)
    assert celebrities.claim(world.stores.redis) is None
    assert world.is_exact(1)
    assert celebrities.read_few(world.stores.redis, 100) is None
    monkeypatch.setattr(near_authors, "SPREAD_SECONDS", 0)
    world.stores = world.stores.with_empty_near_cache()
    for _ in range(3):
        assert world.is_exact(1)
    assert celebrities.read_few(world.stores.redis, 100) == {9}


def test_the_set_is_claimed_by_one_reader_after_an_upload_has_begun_it(stores):
    celebrity_lists.put_author(stores.redis, 7)
    assert celebrities.claim(stores.redis)
    assert celebrities.claim(stores.redis) is None


def test_a_set_that_takes_half_of_the_budget_is_given_up_as_a_whole(make_stores):
    """A set without some of its authors would say that these have no posts."""
    world = World(make_stores(near_cache_bytes=sizes.authors_bytes(12)))
    world.people(1, *range(11, 23))
    for author in range(11, 23):
        world.follow(1, author)
    for author in range(11, 23):
        world.post(author)
        assert world.is_exact(1)
    assert world.stores.near_cache._snapshot.authors is None


def test_a_read_in_progress_uses_a_list_that_was_evicted_meanwhile(stores):
    """Its copy never changes. The floor of the snapshot covers it."""
    near_cache = NearCache(longest_list=12, budget=room_for(1))
    now = near_cache.reload(MARKER, 1, None)
    near_cache.store_lists(now, {1: copy_of(POST, floor=POST - 1)})
    reading = near_cache._snapshot
    [cached], _ = near_cache.get_lists(reading, [1])
    for _ in range(2):
        near_cache.store_lists(near_cache._snapshot, {2: copy_of(POST + 2)})
    near_cache.store_lists(near_cache._snapshot, {3: copy_of(POST + 3)})
    assert list(near_cache.copies.lists.entries) == [2]
    assert list(cached.ids) == [POST]
    assert near_cache._snapshot.highest_floor == POST - 1


def test_a_read_marks_a_list_that_was_evicted_after_it_found_it():
    near_cache = NearCache(longest_list=12, budget=room_for(1))
    now = near_cache.reload(MARKER, 1, None)
    near_cache.store_lists(now, {1: copy_of(POST), 2: copy_of(POST + 2)})
    [found] = near_cache._snapshot.lists_of([1])
    near_cache.copies.lists.evict()
    near_cache.copies.lists.count([1], hits=1, misses=0)
    assert list(found.ids) == [POST]
    assert near_cache._snapshot.lists_of([1]) == [None]


def test_the_floor_of_the_recent_posts_does_not_fall_after_an_eviction():
    """Posts that the index has cut do not come back to it when a list does."""
    near_cache = NearCache(longest_list=50, budget=room_for(3))
    now = near_cache.reload(MARKER, 1, None)
    ids = range(POST, POST + 40)
    assert near_cache._snapshot.recent.most < 40
    near_cache.store_lists(now, {1: copy_of(*ids)})
    floor = near_cache._snapshot.recent.floor
    assert floor > POST
    near_cache.copies.lists.evict()
    for _ in range(2):
        near_cache.store_lists(near_cache._snapshot, {1: copy_of(POST, POST + 1)})
    assert near_cache._snapshot.recent.floor == floor


def test_a_list_that_was_evicted_and_fetched_again_is_not_for_an_earlier_read(stores):
    make_valid(stores)
    near_cache = NearCache(longest_list=12, budget=1 << 20)
    found = read_snapshot(stores, near_cache)
    near_cache.store_lists(found, {7: copy_of(POST)})
    early = ask(stores, near_cache)
    near_cache.copies.lists.evict()
    near_cache.store_lists(read_snapshot(stores, near_cache), {7: copy_of()._replace(floor=1)})
    assert ids_of(receive(*early), 7) is None
    assert ids_of(read_snapshot(stores, near_cache), 7) == []


def test_two_reads_fetch_a_list_for_themselves(make_stores, monkeypatch):
    """The second read asks after a put, while the first read is still fetching the list."""
    world = World(make_stores(near_cache_bytes=0))
    world.add_followers(9, [1, 2])
    world.post(9)
    world.pull_all()
    fetched = []

    def fetch_slowly(near_cache, snapshot, lists):
        fetched.append(lists)
        if len(fetched) == 1:
            world.post(9)
            assert world.is_exact(2)

    monkeypatch.setattr(NearCache, "store_lists", fetch_slowly)
    world.read(1)
    assert world.is_exact(1)
    assert [len(lists[9].ids) for lists in fetched[:2]] == [1, 2]


# Loading the set in steps


def fill_set(stores, count):
    make_valid(stores, *range(1, count + 1))


def test_a_large_set_is_loaded_in_steps_while_authors_come_and_go(stores, monkeypatch):
    monkeypatch.setattr(near_authors, "SPREAD_SECONDS", 0)
    fill_set(stores, 5_000)
    near_cache = NearCache(longest_list=12, budget=1 << 20)
    at = invalidation_log.position(stores.redis)
    near_cache.reload(*at, celebrities.read_few(stores.redis, near_authors.STEP))
    loaded = []
    while near_cache._snapshot.authors is None:
        loaded.append(len(near_cache.authors._loading.authors))
        learn(stores, near_cache)
        if len(loaded) == 3:
            celebrity_lists.put_author(stores.redis, 7_777, POST)
            take_off(stores, 4_000)
    assert len(loaded) >= 4
    steps = [after - before for before, after in pairwise(loaded)]
    assert max(steps) <= 2 * near_authors.STEP
    found = near_cache._snapshot.authors
    assert {*range(1, 5_001), 7_777} - {4_000} <= found


def test_an_author_that_is_put_after_the_last_step_was_answered_is_held(stores, monkeypatch):
    """A slow read has the answer to the last step. Another read, which asked for an earlier step,
    learns of the put before the slow read goes on.
    """
    monkeypatch.setattr(near_authors, "SPREAD_SECONDS", 0)
    fill_set(stores, 2_500)
    near_cache = NearCache(longest_list=12, budget=1 << 20)
    near_cache.reload(*invalidation_log.position(stores.redis), None)
    learn(stores, near_cache)
    other = Late(stores.redis)
    others_answer = near_cache.ask(other)
    learn(stores, near_cache)
    slow = ask(stores, near_cache)
    celebrity_lists.put_author(stores.redis, 7_777, POST)
    other.run()
    assert receive(other, others_answer) is not None
    assert near_cache._snapshot.authors is None
    receive(*slow)
    assert celebrities_in(learn(stores, near_cache), 1, 7_777, 8_888) == {1, 7_777}


def test_a_load_begins_again_if_the_set_is_lost_between_two_steps(stores, monkeypatch):
    """The clock of Redis is set back, so the second set has lower scores. The cursor of the first
    step is above them.
    """
    monkeypatch.setattr(near_authors, "SPREAD_SECONDS", 0)
    fill_set(stores, 3_000)
    near_cache = NearCache(longest_list=12, budget=1 << 20)
    near_cache.reload(*invalidation_log.position(stores.redis), None)
    learn(stores, near_cache)
    assert near_cache.authors._loading.authors
    stores.redis.delete(keys.CELEBRITIES)
    make_valid(stores, *range(10_001, 13_001))
    stores.redis.zadd(keys.CELEBRITIES, dict.fromkeys(range(10_001, 13_001), 1))
    while near_cache._snapshot.authors is None:
        learn(stores, near_cache)
    assert set(range(10_001, 13_001)) <= near_cache._snapshot.authors


def test_a_load_goes_on_after_the_set_has_moved_to_another_server(stores):
    """As a slot of a cluster does. Each server has an order of its own for ZSCAN."""
    fill_set(stores, 5_000)
    other = Valkey()
    with closing(other), closing(client.connect(other.url)) as moved:
        load = Load()
        take_part(stores.redis, load)
        take_part(stores.redis, load)
        assert 0 < len(load.authors) < 5_000
        moved.restore(keys.CELEBRITIES, 0, stores.redis.dump(keys.CELEBRITIES))
        while not load.is_complete:
            take_part(moved, load)
    assert load.authors == set(range(1, 5_001))


def take_part(redis, load):
    trip = RoundTrip(redis)
    celebrities.ask_part(trip, load.cursor, near_authors.STEP, 10_000, load.take)
    trip.run()


def test_a_part_has_all_authors_of_its_highest_score(stores):
    """Authors that SQL has filled in one step have the same score."""
    fill_set(stores, 2_500)
    stores.redis.zadd(keys.CELEBRITIES, dict.fromkeys(range(501, 2_001), 1))
    load = Load()
    while not load.is_complete:
        take_part(stores.redis, load)
    assert load.authors == set(range(1, 2_501))


def test_a_load_has_an_author_whose_score_rises_meanwhile(stores):
    fill_set(stores, 5_000)
    load = Load()
    take_part(stores.redis, load)
    missing = min(set(range(1, 5_001)) - load.authors)
    celebrity_lists.put_author(stores.redis, missing, POST)
    while not load.is_complete:
        take_part(stores.redis, load)
    assert load.authors == set(range(1, 5_001))


def test_a_load_that_has_not_ended_says_nothing_about_absent_authors(stores, monkeypatch):
    monkeypatch.setattr(near_authors, "SPREAD_SECONDS", 0)
    fill_set(stores, 3_000)
    near_cache = NearCache(longest_list=12, budget=1 << 20)
    near_cache.reload(*invalidation_log.position(stores.redis), None)
    learn(stores, near_cache)
    assert learn(stores, near_cache).celebrities_among(frozenset([1])) is None


def test_a_set_of_one_step_is_loaded_at_once(stores, monkeypatch):
    monkeypatch.setattr(near_authors, "SPREAD_SECONDS", 10**9)
    fill_set(stores, 900)
    near_cache = NearCache(longest_list=12, budget=1 << 20)
    near_cache.reload(*invalidation_log.position(stores.redis), None)
    learn(stores, near_cache)
    assert celebrities_in(learn(stores, near_cache), 1, 900, 901) == {1, 900}


def test_a_hundred_processes_that_start_together_load_in_different_seconds():
    began = time.monotonic()
    seconds = Counter(int(Load()._due - began) for _ in range(100))
    assert max(seconds.values()) < 20


# Threads


def test_threads_read_while_others_store_and_evict():
    near_cache = NearCache(longest_list=12, budget=room_for(20))
    near_cache.reload(MARKER, 1, [])
    done, faults = threading.Event(), []

    def read():
        try:
            while not done.is_set():
                now = near_cache._snapshot
                cached, missing = near_cache.get_lists(now, range(1, 60))
                assert len(cached) + len(missing) == 59
                assert all(each.ids[-1] == each.top for each in cached)
                near_cache.store_lists(now, {each: copy_of(POST + each) for each in missing})
                near_cache.get_bodies(now, range(1, 60))
        except Exception as error:  # noqa: BLE001 -- the test reports it
            faults.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2_000):
        learn_put(near_cache, number % 60, number % 60 + 1)
        bodies = {post: Body(1, bytes(100)) for post in range(number % 60, number % 60 + 5)}
        near_cache.store_bodies(near_cache._snapshot, bodies)
    done.set()
    for thread in threads:
        thread.join()
    assert not faults
    assert near_cache.used_bytes <= room_for(20)
