"""The set of celebrities, a process's copies of it and of the lists behind it: a superset at any time, never a miss."""

from __future__ import annotations

import pytest

from feedsvc.cache import celebrity_lists
from feedsvc.feed import reader
from feedsvc.planning import change
from feedsvc.store.near_cache import cache
from feedsvc.store.near_cache.cache import NearCache
from feedsvc.store.near_cache.snapshot import CachedList
from feedsvc.store.redis import celebrities, invalidation_log, keys, lists
from feedsvc.store.redis.keys import CELEBRITIES, INVALIDATION_LOG
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.redis.scripts import REMOVE_AUTHOR
from tests.views import put_post

POST = 1 << 48


def make_valid(stores, *authors):
    marker = celebrities.open_to_build(stores.redis)
    celebrities.finish(stores.redis, marker, authors)


class Late(RoundTrip):
    """A round trip whose answers arrive later: `arrive` hands them over."""

    def run(self):
        self.answers = [
            (answer, self._redis.execute_command(*answer.command, **answer.options))
            for [answer] in self._stages
        ]

    def arrive(self):
        for answer, found in self.answers:
            answer.take(found)


def ask(stores, copy):
    """Ask now; the snapshot is made of the answer when the trip's answers arrive."""
    trip = Late(stores.redis)
    answer = copy.ask(trip)
    trip.run()
    return trip, answer


def entries(stores, copy):
    """What the log answers to the next question."""
    return ask(stores, copy)[0].answers[0][1]


def late(trip, answer):
    trip.arrive()
    return answer.value


def told(stores, copy):
    """What a reader knows by its first trip alone; None if it has to copy everything."""
    return late(*ask(stores, copy))


def known(stores, copy):
    found = told(stores, copy)
    if found is not None:
        return found
    at = invalidation_log.position(stores.redis)
    return copy.reload(*at, celebrities.read(stores.redis))


def forget(copy, found, authors):
    """As a read does that found the lists of these authors empty."""
    copy.store_lists(found, {author: CachedList.of(FloorList([], 0)) for author in authors})


def among(known, *authors):
    return set(known.celebrities_among(frozenset(authors)))


def ids_of(known, author):
    [found] = known.lists_of([author])
    return found and list(found.ids)


@pytest.fixture
def copy(stores):
    """Of a valid set without authors."""
    make_valid(stores)
    made = NearCache(longest_list=5)
    known(stores, made)
    return made


def test_an_absent_set_is_not_an_empty_one(stores):
    assert celebrities.read(stores.redis) is None


def test_a_put_into_an_absent_set_does_not_make_it_valid(stores):
    celebrities.put(stores.redis, 7)
    assert celebrities.read(stores.redis) is None
    make_valid(stores, 5)
    assert celebrities.read(stores.redis) == {5, 7}


def test_a_copy_learns_what_was_put_since_it_asked_last(stores, copy):
    assert among(known(stores, copy), 7) == set()
    celebrities.put(stores.redis, 7, POST)
    assert len(entries(stores, copy)) == 3, "the put, the counter, the marker"
    found = told(stores, copy)
    assert among(found, 7, 8) == {7}
    assert [put[1:] for put in found.news] == [(7, POST)]
    assert len(entries(stores, copy)) == 1, "nothing but the marker is new"


@pytest.mark.parametrize("then_put", [True, False])
def test_a_copy_is_not_trusted_once_the_set_of_recent_puts_was_lost(stores, copy, then_put):
    stores.redis.delete(INVALIDATION_LOG)
    if then_put:
        celebrities.put(stores.redis, 8, POST)
    assert told(stores, copy) is None
    assert among(known(stores, copy), 7, 8) == ({8} if then_put else set())
    assert told(stores, copy) is not None


def test_a_copy_is_not_trusted_once_the_set_was_lost_with_a_put_and_begun_anew(stores, copy):
    celebrities.put(stores.redis, 7, POST)
    stores.redis.delete(INVALIDATION_LOG)
    invalidation_log.position(stores.redis)
    assert told(stores, copy) is None


def test_a_copy_that_missed_a_put_is_not_trusted(stores, copy, monkeypatch):
    monkeypatch.setattr(invalidation_log, "_MAX_ENTRIES", 3)
    for author in (5, 6, 7):
        celebrities.put(stores.redis, author, POST)
    assert among(told(stores, copy), 5, 6, 7) == {5, 6, 7}
    for author in (1, 2, 3, 4):
        celebrities.put(stores.redis, author, POST)
    assert told(stores, copy) is None
    assert among(known(stores, copy), *range(8)) == set(range(1, 8))


def test_a_copy_outlives_a_lost_set_of_celebrities(stores, copy):
    """Every put is told all the same."""
    celebrities.put(stores.redis, 7, POST)
    known(stores, copy)
    stores.redis.delete(CELEBRITIES)
    celebrities.put(stores.redis, 8, POST)
    assert among(told(stores, copy), 7, 8, 9) == {7, 8}


def test_an_author_that_was_put_again_is_not_removed(stores):
    make_valid(stores)
    celebrities.put(stores.redis, 7)
    number = stores.redis.zscore(CELEBRITIES, "7")
    celebrities.put(stores.redis, 7)
    assert not REMOVE_AUTHOR.run(stores.redis, [CELEBRITIES], 7, int(number))
    assert celebrities.read(stores.redis) == {7}


def test_an_author_leaves_with_the_last_post_on_a_list_that_goes_down_to_the_first(stores):
    """In one call: an author of two posts, one who keeps a post, one whose list has a floor, one being built, one without a list."""
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
    assert celebrities.read(stores.redis) == {2, 3, 4, 5}
    assert [lists.read(stores.redis, keys.celebrity_posts(author)) for author in range(1, 6)] == [
        FloorList([], 0),
        FloorList([POST], 0),
        FloorList([POST], 9),
        None,
        None,
    ]


def test_a_reader_that_asked_before_an_author_was_forgotten_still_knows_it(stores, copy):
    """Its home feed was read in the same trip: it may not have the post that was moved since."""
    celebrities.put(stores.redis, 7, POST)
    found = known(stores, copy)
    asked = ask(stores, copy)
    forget(copy, found, [7])
    assert among(late(*asked), 7) == {7}
    assert among(known(stores, copy), 7) == set()


def test_an_author_put_again_is_not_forgotten(stores, copy):
    celebrities.put(stores.redis, 7, POST)
    found = known(stores, copy)
    celebrities.put(stores.redis, 7, POST + 1)
    known(stores, copy)
    forget(copy, found, [7])
    assert among(known(stores, copy), 7) == {7}


def test_a_reader_that_learns_late_does_not_take_an_authors_number_back(stores, copy):
    """Else a third one, which found the list empty before the second put, would drop the author for good."""
    celebrities.put(stores.redis, 7, POST)
    slow = ask(stores, copy)
    found_empty = known(stores, copy)
    celebrities.put(stores.redis, 7, POST + 1)
    known(stores, copy)
    late(*slow)
    forget(copy, found_empty, [7])
    assert among(known(stores, copy), 7) == {7}


def test_a_reload_that_was_overtaken_does_not_take_the_copy_back(stores, copy):
    slow = invalidation_log.position(stores.redis), celebrities.read(stores.redis)
    celebrities.put(stores.redis, 7, POST)
    known(stores, copy)
    copy.reload(*slow[0], slow[1])
    assert among(told(stores, copy), 7) == {7}


def test_a_list_is_held_and_learns_what_is_put_onto_it(stores, copy):
    celebrities.put(stores.redis, 7, POST)
    found = known(stores, copy)
    assert ids_of(found, 7) is None
    copy.store_lists(found, {7: CachedList.of(FloorList([POST, POST], 9))})
    celebrities.put(stores.redis, 7, POST + 2)
    celebrities.put(stores.redis, 7, POST + 1)
    assert ids_of(known(stores, copy), 7) == [POST, POST + 1, POST + 2]


def test_a_list_that_comes_late_learns_what_was_put_since_it_was_read(stores, copy):
    slow = known(stores, copy)
    celebrities.put(stores.redis, 7, POST)
    known(stores, copy)
    copy.store_lists(slow, {7: CachedList.of(FloorList([], 0))})
    assert ids_of(known(stores, copy), 7) == [POST]


def test_a_list_that_comes_so_late_that_puts_are_forgotten_is_not_held(stores, copy, monkeypatch):
    slow = known(stores, copy)
    monkeypatch.setattr(copy, "_remembered", copy._remembered.__class__(maxlen=1))
    for number in range(2):
        celebrities.put(stores.redis, 7, POST + number)
        known(stores, copy)
    copy.store_lists(slow, {7: CachedList.of(FloorList([], 0))})
    assert ids_of(known(stores, copy), 7) is None


def test_a_list_that_was_read_for_a_set_that_is_lost_is_not_held(stores, copy):
    slow = known(stores, copy)
    stores.redis.delete(INVALIDATION_LOG)
    known(stores, copy)
    copy.store_lists(slow, {7: CachedList.of(FloorList([], 0))})
    assert ids_of(known(stores, copy), 7) is None


def test_a_list_that_was_copied_after_a_reader_asked_is_not_for_that_reader(stores, copy):
    """What it lacks may have moved into the reader's home list since that was read."""
    found = known(stores, copy)
    early = ask(stores, copy)
    copy.store_lists(found, {7: CachedList.of(FloorList([], 9))})
    assert ids_of(late(*early), 7) is None
    assert ids_of(known(stores, copy), 7) == []


def test_a_list_that_is_only_half_held_is_nobodys(stores, copy, monkeypatch):
    """Who asks while a list is being held must not find it without what was put since it was read."""
    found = known(stores, copy)
    celebrities.put(stores.redis, 7, POST)
    known(stores, copy)
    apply, seen = copy._apply, []

    def asks(put):
        seen.append(known(stores, copy).lists_of([7]))
        apply(put)

    monkeypatch.setattr(copy, "_apply", asks)
    copy.store_lists(found, {7: CachedList.of(FloorList([], 0))})
    assert seen == [[None]]
    assert ids_of(known(stores, copy), 7) == [POST]


@pytest.mark.parametrize("what", ["is made anew", "grows too long"])
def test_a_list_that_is_trimmed_or_made_anew_is_read_again(stores, copy, what):
    copy.store_lists(known(stores, copy), {7: CachedList.of(FloorList(list(range(1, 5)), 0))})
    if what == "is made anew":
        celebrities.put(stores.redis, 7)
    else:
        for number in range(2):
            celebrities.put(stores.redis, 7, POST + number)
    assert ids_of(known(stores, copy), 7) is None


def test_lists_are_held_up_to_a_bound_the_latest_ones(stores, monkeypatch):
    monkeypatch.setattr(cache, "_IDS_AROUND", 1)
    make_valid(stores)
    copy = NearCache(longest_list=100, max_ids=20)
    for author in range(1, 9):
        copy.store_lists(
            known(stores, copy), {author: CachedList.of(FloorList(list(range(1, 6)), 0))}
        )
    found = known(stores, copy)
    assert [author for author in range(1, 9) if ids_of(found, author)] == [6, 7, 8]
    celebrities.put(stores.redis, 7, POST)
    celebrities.put(stores.redis, 8, POST)
    celebrities.put(stores.redis, 8, POST + 1)
    found = known(stores, copy)
    assert sum(len(each.ids) + 1 for each in found.lists.values()) == copy._ids


def test_authors_with_nothing_on_their_list_any_more_are_forgotten_when_they_are_many(
    stores, copy, monkeypatch
):
    monkeypatch.setattr(cache, "_FEW_AUTHORS", 3)
    listed = frozenset([2])
    for author in range(1, 5):
        copy.prune(known(stores, copy), lambda: pytest.fail("not many yet"))
        celebrities.put(stores.redis, author, POST)
        known(stores, copy)
    copy.prune(known(stores, copy), lambda: listed)
    copy.prune(known(stores, copy), lambda: pytest.fail("not many any more"))
    assert among(known(stores, copy), *range(5)) == {2}


@pytest.mark.parametrize("is_new", [True, False])
def test_a_celebrity_list_that_is_lost_is_not_an_empty_one(world, is_new):
    world.crowd(9, [1])
    world.is_exact(1, 9)
    world.post(9)
    world.post(9)
    if is_new:
        world.stores = world.stores.without_near_cache()
    world.stores.redis.delete(keys.celebrity_posts(9))
    assert world.is_exact(1, 9)


@pytest.mark.parametrize("before_stage", range(4))
def test_a_list_that_is_copied_in_the_middle_of_a_put_lacks_nothing(
    world, monkeypatch, before_stage
):
    world.crowd(9, [1])
    world.post(9)
    assert world.is_exact(1)
    world.stores = world.stores.without_near_cache()

    class SlowPut(RoundTrip):
        """A round trip whose stages run one by one. A new near cache is filled before one of them."""

        def run(self):
            for number, stage in enumerate(self._stages):
                if number == before_stage:
                    reader.home_page(world.stores, 1, None, 10)
                self._stages = [stage]
                super().run()

    monkeypatch.setattr(celebrity_lists, "RoundTrip", SlowPut)
    world.post(9)
    assert world.is_exact(1, 9)


def test_a_page_ends_at_the_highest_floor_of_the_lists_that_are_held(world):
    """The oldest posts of a long list are on no list: SQL has them, although the home list is complete down to the first post."""
    world.crowd(9, [1])
    world.is_exact(1)
    change.change(
        world.stores,
        promote_at=1,
        demote_at=1,
        rollout_percent=100,
        reason="test",
        changed_by="test",
        if_match=None,
    )
    for _ in range(30):
        world.post(9)
    world.is_exact(1)  # which takes a copy of the list
    world.is_exact(1)
