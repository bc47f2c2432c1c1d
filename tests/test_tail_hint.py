"""The head of a home list has every id of the list above its floor, whatever changes the list."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from feedsvc.store.redis import lists
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.redis.round_trip import RoundTrip
from tests.test_lists import build, deliver, stored

VIEWER = 1
# tests/world.py sets these.
assert (lists.HEAD_PAGE, lists.HEAD_LENGTH, lists.HINT_AFTER) == (2, 8, 4)


def read_head(stores, between=lambda _: None):
    """Return the head, and the whole list at the moment when the ids of the head were read.

    `between` is called after each of the four questions, with its number.
    """
    key = stores.keys.homefeed(VIEWER)
    trip, on_list = RoundTrip(stores.redis), None
    head = lists.ask_head(trip, key)
    [questions] = trip._stages
    for number, question in enumerate(questions):
        if number == 1:
            on_list = stored(stores, VIEWER)
        question.take(stores.redis.execute_command(*question.command))
        between(number)
    assert number == 3
    return head.value, on_list


def read_whole(stores):
    key = stores.keys.homefeed(VIEWER)
    raw = stores.redis.lrange(key, 0, -1)
    found = lists.parse_home(raw)
    if found is not None:
        lists.store_tail_hint(stores.redis, key, raw)
    return raw


def push(stores, *ids):
    for post_id in ids:
        stores.redis.delete(stores.keys.fanout(post_id, stores.keys.bucket(VIEWER), 0))
        deliver(stores, post_id, [VIEWER])


def test_a_short_list_is_its_own_head(stores):
    build(stores, VIEWER, [5, 4, 3], 2)
    head, _ = read_head(stores)
    assert (list(head.ids), head.floor, head.is_whole) == ([3, 4, 5], 2, True)


def test_an_absent_list_and_a_list_that_is_being_built_have_no_head(stores):
    assert read_head(stores) == (None, None)
    lists.open_to_build(stores.redis, stores.keys.homefeed(VIEWER), 60)
    push(stores, *range(100, 109))
    assert read_head(stores) == (None, None)


def test_a_list_that_was_never_read_whole_has_no_head(stores):
    build(stores, VIEWER, range(19, 10, -1))
    assert read_head(stores)[0] is None


def test_a_tail_hint_serves_until_too_many_posts_were_pushed(make_stores):
    stores = make_stores(feed_slack=10)
    build(stores, VIEWER, range(19, 11, -1))
    read_whole(stores)
    for number, served in enumerate((True, True, True, True, True, False)):
        head, _ = read_head(stores)
        assert (head is not None) is served, number
        if head is not None:
            assert (head.floor, head.is_whole) == (15, False), "ids 16 to 19 came first"
            assert list(head.ids) == [*range(12 + number, 20), *range(100, 100 + number)]
        push(stores, 100 + number)


def test_a_high_id_behind_the_head_raises_the_floor_of_the_head(stores):
    build(stores, VIEWER, [])
    push(stores, 500, *range(10, 19))
    assert not stored(stores, VIEWER).ids.index(500) < 8, "behind what a head reads"
    read_whole(stores)
    head, _ = read_head(stores)
    assert head.floor == 500, "the head is complete above 500 only"


def test_a_trim_removes_the_tail_hint(stores):
    build(stores, VIEWER, [])
    push(stores, *range(10, 23))
    read_whole(stores)
    assert read_head(stores)[0] is not None
    push(stores, *range(23, 26))
    assert len(stored(stores, VIEWER).ids) < 13
    assert read_head(stores)[0] is None


def test_a_tail_hint_of_an_earlier_list_is_not_stored(stores):
    key = stores.keys.homefeed(VIEWER)
    build(stores, VIEWER, range(19, 10, -1))
    raw = stores.redis.lrange(key, 0, -1)
    stores.redis.delete(key)
    build(stores, VIEWER, [*range(9, 1, -1), 1])
    lists.store_tail_hint(stores.redis, key, raw)
    assert read_head(stores)[0] is None
    assert stored(stores, VIEWER) == FloorList([*range(9, 0, -1)], 0)


def test_a_list_that_is_rebuilt_between_two_commands_has_no_head(stores):
    def make_anew(number):
        if number == 1:
            stores.redis.delete(stores.keys.homefeed(VIEWER))
            build(stores, VIEWER, range(19, 10, -1))
            read_whole(stores)

    build(stores, VIEWER, range(19, 10, -1))
    read_whole(stores)
    assert read_head(stores, between=make_anew)[0] is None


def test_a_marker_without_token_gets_a_tail_hint(stores):
    key = stores.keys.homefeed(VIEWER)
    stores.redis.rpush(key, *range(19, 10, -1), "f7")
    assert (stored(stores, VIEWER).floor, read_head(stores)[0]) == (7, None)
    read_whole(stores)
    assert read_head(stores)[0].floor == 15
    assert stored(stores, VIEWER).floor == 7


def test_a_page_fits_into_a_head_with_a_new_tail_hint(stores):
    build(stores, VIEWER, range(19, 9, -1))
    read_whole(stores)
    head, _ = read_head(stores)
    assert sum(post_id > head.floor for post_id in head.ids) > lists.HEAD_PAGE


def test_ids_above_a_false_tail_hint_are_found(stores):
    key = stores.keys.homefeed(VIEWER)
    build(stores, VIEWER, range(19, 9, -1))
    raw = read_whole(stores)
    assert lists.above_tail_hint(raw) == set()
    raw = stores.redis.lrange(key, 0, -1)
    assert lists.above_tail_hint(raw) == set()
    assert lists.above_tail_hint([*raw[:5], b"99", *raw[5:]]) == {99}


IDS = st.integers(1, 60)
OPERATIONS = st.one_of(
    st.tuples(st.just("push"), IDS),
    st.tuples(st.just("push"), IDS),
    st.tuples(st.just("push"), IDS),
    st.tuples(st.just("read whole"), st.none()),
    st.tuples(st.just("delete"), st.none()),
    st.tuples(st.just("open"), st.none()),
    st.tuples(st.just("finish"), st.lists(IDS, unique=True)),
)


class OneList:
    """One list, and the operations on it."""

    def __init__(self, stores):
        self.stores, self.key, self.marker = stores, stores.keys.homefeed(VIEWER), None
        stores.redis.flushall()

    def do(self, operation, value):
        if operation == "push":
            push(self.stores, value)
        elif operation == "read whole":
            read_whole(self.stores)
        elif operation == "delete":
            self.stores.redis.delete(self.key)
        elif operation == "open":
            self.marker = lists.open_to_build(self.stores.redis, self.key, 60)
        elif self.marker is not None:
            found = FloorList.of_newest(sorted(value, reverse=True), 10)
            lists.finish(self.stores.redis, self.key, self.marker, found, self.stores.limits)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.lists(IDS, unique=True, min_size=8),
    rounds=st.lists(
        st.tuples(
            st.lists(OPERATIONS, max_size=8),
            st.lists(st.lists(OPERATIONS, max_size=3), min_size=4, max_size=4),
        ),
        max_size=5,
    ),
)
def test_a_head_has_every_id_of_the_list_above_its_floor(stores, start, rounds):
    one_list = OneList(stores)
    build(stores, VIEWER, sorted(start, reverse=True)[:10], 0)
    read_whole(stores)
    for operations, between in rounds:
        for operation in operations:
            one_list.do(*operation)
        head, on_list = read_head(
            stores,
            between=lambda number, between=between: [
                one_list.do(*each) for each in between[number]
            ],
        )
        if head is not None:
            assert on_list is not None
            assert sorted(head.ids) == list(head.ids)
            assert (
                {post_id for post_id in on_list.ids if post_id > head.floor}
                <= set(head.ids)
                <= set(on_list.ids)
            )
            assert head.floor >= on_list.floor
