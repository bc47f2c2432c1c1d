"""The near cache: its celebrities and lists are exact at every read, whatever happened before."""

from __future__ import annotations

import pytest

from feedsvc.cache import celebrity_lists
from feedsvc.feed import reader
from feedsvc.store.near_cache import authors
from feedsvc.store.near_cache.cache import NearCache
from feedsvc.store.near_cache.snapshot import CachedList
from feedsvc.store.redis import invalidation_log, scripts
from feedsvc.store.redis.keys import CELEBRITIES, INVALIDATION_LOG
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.redis.round_trip import RoundTrip
from tests.test_celebrities import make_valid, read

POST = 1 << 48


class Late(RoundTrip):
    """A round trip whose answers arrive later, when `arrive` is called."""

    def run(self):
        for script in scripts.ALL:
            self._redis.script_load(script.text)
        self.answers = [
            (answer, self._redis.execute_command(*answer.command, **answer.options))
            for stage in self._stages
            for answer in stage
        ]

    def arrive(self):
        for answer, found in self.answers:
            answer.take(found)


def ask(stores, near_cache):
    """Ask the log. Return the trip and the answer, which has its value after `receive`."""
    trip = Late(stores.redis)
    answer = near_cache.ask(trip)
    trip.run()
    return trip, answer


def entries(stores, near_cache):
    """Return the entries that the log answers to the next question."""
    return ask(stores, near_cache)[0].answers[-1][1]


def receive(trip, answer):
    trip.arrive()
    return answer.value


def learn(stores, near_cache):
    """Return the snapshot of a read; None if the near cache has to start again."""
    return receive(*ask(stores, near_cache))


def read_snapshot(stores, near_cache):
    found = learn(stores, near_cache)
    if found is not None:
        return found
    at = invalidation_log.position(stores.redis)
    return near_cache.reload(*at, read(stores))


def forget(near_cache, found, authors):
    """Store empty lists of authors, as a read does."""
    near_cache.store_lists(found, {author: CachedList.of(FloorList([], 0)) for author in authors})


def take_off(stores, *authors):
    """Remove authors from `celebrities`, as after the take-off of their last post."""
    stores.redis.zrem(CELEBRITIES, *authors)


def celebrities_in(snapshot, *authors):
    return set(snapshot.celebrities_among(frozenset(authors)))


def ids_of(snapshot, author):
    [found] = snapshot.lists_of([author])
    return found and list(found.ids)


@pytest.fixture
def near_cache(stores):
    """A near cache that was loaded from a valid set without authors."""
    make_valid(stores)
    made = NearCache(longest_list=5, budget=1 << 20)
    read_snapshot(stores, made)
    return made


def test_a_read_learns_the_puts_since_the_last_read(stores, near_cache):
    assert celebrities_in(read_snapshot(stores, near_cache), 7) == set()
    celebrity_lists.put_author(stores.redis, 7, POST)
    assert len(entries(stores, near_cache)) == 3, "the put, the counter, the marker"
    found = learn(stores, near_cache)
    assert celebrities_in(found, 7, 8) == {7}
    assert [put[1:] for put in found.news] == [(7, POST)]
    assert len(entries(stores, near_cache)) == 1, "nothing but the marker is new"


@pytest.mark.parametrize("then_put", [True, False])
def test_the_near_cache_starts_again_after_the_log_was_lost(stores, near_cache, then_put):
    stores.redis.delete(INVALIDATION_LOG)
    if then_put:
        celebrity_lists.put_author(stores.redis, 8, POST)
    assert learn(stores, near_cache) is None
    assert celebrities_in(read_snapshot(stores, near_cache), 7, 8) == ({8} if then_put else set())
    assert learn(stores, near_cache) is not None


def test_the_near_cache_starts_again_after_another_log_has_begun(stores, near_cache):
    celebrity_lists.put_author(stores.redis, 7, POST)
    stores.redis.delete(INVALIDATION_LOG)
    invalidation_log.position(stores.redis)
    assert learn(stores, near_cache) is None


def test_the_near_cache_starts_again_after_a_missed_put(stores, near_cache, monkeypatch):
    monkeypatch.setattr(invalidation_log, "_MAX_ENTRIES", 3)
    for author in (5, 6, 7):
        celebrity_lists.put_author(stores.redis, author, POST)
    assert celebrities_in(learn(stores, near_cache), 5, 6, 7) == {5, 6, 7}
    for author in (1, 2, 3, 4):
        celebrity_lists.put_author(stores.redis, author, POST)
    assert learn(stores, near_cache) is None
    assert celebrities_in(read_snapshot(stores, near_cache), *range(8)) == set(range(1, 8))


def test_the_near_cache_survives_the_loss_of_the_set_of_celebrities(stores, near_cache):
    """The log has every put."""
    celebrity_lists.put_author(stores.redis, 7, POST)
    read_snapshot(stores, near_cache)
    stores.redis.delete(CELEBRITIES)
    celebrity_lists.put_author(stores.redis, 8, POST)
    assert celebrities_in(learn(stores, near_cache), 7, 8, 9) == {7, 8}


def test_a_read_that_asked_before_an_author_was_forgotten_has_the_author(stores, near_cache):
    """Its home list was read in the same trip, and may lack a post that has moved since."""
    celebrity_lists.put_author(stores.redis, 7, POST)
    found = read_snapshot(stores, near_cache)
    asked = ask(stores, near_cache)
    forget(near_cache, found, [7])
    assert celebrities_in(receive(*asked), 7) == {7}
    assert celebrities_in(read_snapshot(stores, near_cache), 7) == set()


def test_an_author_put_again_is_not_forgotten(stores, near_cache):
    celebrity_lists.put_author(stores.redis, 7, POST)
    found = read_snapshot(stores, near_cache)
    celebrity_lists.put_author(stores.redis, 7, POST + 1)
    read_snapshot(stores, near_cache)
    forget(near_cache, found, [7])
    assert celebrities_in(read_snapshot(stores, near_cache), 7) == {7}


def test_a_late_answer_does_not_lower_an_authors_number(stores, near_cache):
    """Otherwise a third read, which found the list empty before the second put, would drop it."""
    celebrity_lists.put_author(stores.redis, 7, POST)
    slow = ask(stores, near_cache)
    at_empty = read_snapshot(stores, near_cache)
    celebrity_lists.put_author(stores.redis, 7, POST + 1)
    read_snapshot(stores, near_cache)
    receive(*slow)
    forget(near_cache, at_empty, [7])
    assert celebrities_in(read_snapshot(stores, near_cache), 7) == {7}


def test_a_slow_reload_does_not_replace_a_newer_snapshot(stores, near_cache):
    slow = invalidation_log.position(stores.redis), read(stores)
    celebrity_lists.put_author(stores.redis, 7, POST)
    read_snapshot(stores, near_cache)
    near_cache.reload(*slow[0], slow[1])
    assert celebrities_in(learn(stores, near_cache), 7) == {7}


def test_a_cached_list_gets_later_puts(stores, near_cache):
    celebrity_lists.put_author(stores.redis, 7, POST)
    found = read_snapshot(stores, near_cache)
    assert ids_of(found, 7) is None
    near_cache.store_lists(found, {7: CachedList.of(FloorList([POST, POST], 9))})
    celebrity_lists.put_author(stores.redis, 7, POST + 2)
    celebrity_lists.put_author(stores.redis, 7, POST + 1)
    assert ids_of(read_snapshot(stores, near_cache), 7) == [POST, POST + 1, POST + 2]


def test_a_list_that_is_cached_late_gets_the_puts_since_it_was_read(stores, near_cache):
    slow = read_snapshot(stores, near_cache)
    celebrity_lists.put_author(stores.redis, 7, POST)
    read_snapshot(stores, near_cache)
    near_cache.store_lists(slow, {7: CachedList.of(FloorList([], 0))})
    assert ids_of(read_snapshot(stores, near_cache), 7) == [POST]


def test_a_list_is_not_cached_if_later_puts_are_not_remembered(stores, near_cache, monkeypatch):
    slow = read_snapshot(stores, near_cache)
    monkeypatch.setattr(near_cache, "_remembered", near_cache._remembered.__class__(maxlen=1))
    for number in range(2):
        celebrity_lists.put_author(stores.redis, 7, POST + number)
        read_snapshot(stores, near_cache)
    near_cache.store_lists(slow, {7: CachedList.of(FloorList([], 0))})
    assert ids_of(read_snapshot(stores, near_cache), 7) is None


def test_a_list_that_was_read_before_the_log_was_lost_is_not_cached(stores, near_cache):
    slow = read_snapshot(stores, near_cache)
    stores.redis.delete(INVALIDATION_LOG)
    read_snapshot(stores, near_cache)
    near_cache.store_lists(slow, {7: CachedList.of(FloorList([], 0))})
    assert ids_of(read_snapshot(stores, near_cache), 7) is None


def test_a_read_does_not_use_a_list_that_was_cached_after_it_asked(stores, near_cache):
    """A post that the list lacks may have moved since the read's home list was read."""
    found = read_snapshot(stores, near_cache)
    early = ask(stores, near_cache)
    near_cache.store_lists(found, {7: CachedList.of(FloorList([], 9))})
    assert ids_of(receive(*early), 7) is None
    assert ids_of(read_snapshot(stores, near_cache), 7) == []


def test_a_list_is_not_used_before_it_has_the_puts_since_it_was_read(
    stores, near_cache, monkeypatch
):
    """A read that asks while a list is being cached must not find it without later puts."""
    found = read_snapshot(stores, near_cache)
    celebrity_lists.put_author(stores.redis, 7, POST)
    read_snapshot(stores, near_cache)
    apply, seen = near_cache._apply, []

    def asks(put):
        seen.append(read_snapshot(stores, near_cache).lists_of([7]))
        apply(put)

    monkeypatch.setattr(near_cache, "_apply", asks)
    near_cache.store_lists(found, {7: CachedList.of(FloorList([], 0))})
    assert seen == [[None]]
    assert ids_of(read_snapshot(stores, near_cache), 7) == [POST]


@pytest.mark.parametrize("what", ["is rebuilt", "grows too long"])
def test_a_list_that_is_trimmed_or_rebuilt_is_read_again(stores, near_cache, what):
    near_cache.store_lists(
        read_snapshot(stores, near_cache), {7: CachedList.of(FloorList(list(range(1, 5)), 0))}
    )
    if what == "is rebuilt":
        celebrity_lists.put_author(stores.redis, 7)
    else:
        for number in range(2):
            celebrity_lists.put_author(stores.redis, 7, POST + number)
    assert ids_of(read_snapshot(stores, near_cache), 7) is None


def test_authors_without_posts_are_forgotten_after_authors_have_doubled(
    stores, near_cache, monkeypatch
):
    monkeypatch.setattr(authors, "_FEW_AUTHORS", 3)
    monkeypatch.setattr(authors, "SPREAD_SECONDS", 0)
    for author in range(1, 5):
        celebrity_lists.put_author(stores.redis, author, POST)
    take_off(stores, 1, 3)
    assert celebrities_in(read_snapshot(stores, near_cache), *range(5)) == {1, 2, 3, 4}
    read_snapshot(stores, near_cache)  # this read loads the set again
    assert celebrities_in(read_snapshot(stores, near_cache), *range(5)) == {2, 4}


@pytest.mark.parametrize("before_stage", range(4))
def test_a_list_that_is_cached_in_the_middle_of_a_put_lacks_no_post(
    world, monkeypatch, before_stage
):
    world.add_followers(9, [1])
    world.post(9)
    assert world.is_exact(1)
    world.stores = world.stores.with_empty_near_cache()

    class SlowPut(RoundTrip):
        """Runs each stage by itself, and fills a new near cache before one of the stages."""

        def run(self):
            for number, stage in enumerate(self._stages):
                if number == before_stage:
                    reader.home_page(world.stores, 1, None, 10)
                self._stages = [stage]
                super().run()

    monkeypatch.setattr(celebrity_lists, "RoundTrip", SlowPut)
    world.post(9)
    assert world.is_exact(1, 9)
