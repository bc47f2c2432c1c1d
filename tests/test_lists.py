"""Lists with a floor have every id above it, whatever was trimmed, pushed or built meanwhile."""

from __future__ import annotations

import pytest

from feedsvc.store.redis import celebrities, delivery, keys, lists
from feedsvc.store.redis.delivery import END, START, Slice
from feedsvc.store.redis.keys import CLUSTER_BUCKETS
from feedsvc.store.redis.lists import FloorList, Marker, TailHint
from feedsvc.store.redis.round_trip import RoundTrip
from tests.views import put_post

POST = 1 << 40
# In the bucket of account 1, also on a cluster.
NEXT = 1 + CLUSTER_BUCKETS


def build(stores, account, ids=(), floor=0):
    key = stores.keys.homefeed(account)
    marker = lists.open_to_build(stores.redis, key, 60)
    assert lists.finish(stores.redis, key, marker, FloorList(list(ids), floor), stores.limits)


def stored(stores, account):
    return lists.read(stores.redis, stores.keys.homefeed(account))


def deliver(stores, post_id, followers, start=START, end=END, author=999):
    """Push to followers of one bucket, and return the cursor of that bucket."""
    bucket = stores.keys.bucket(followers[0])
    part = Slice(start, end, [str(follower) for follower in followers], bucket)
    return delivery.deliver(stores, post_id, author, [part])[bucket]


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("f7", Marker(7)),
        ("f7:ab", Marker(7, "ab")),
        ("f7:ab:30:9", Marker(7, "ab", TailHint(30, 9))),
        ("f7::30:9", Marker(7, "", TailHint(30, 9))),
        ("bab", Marker(None, "ab")),
    ],
)
def test_a_marker_reads_back_as_it_is_written(text, marker):
    assert Marker.parse(text.encode()) == marker
    assert marker.format() == text


def test_an_element_that_is_no_marker_says_nothing():
    assert Marker.parse(b"12345").floor is None
    assert Marker.parse(b"").floor is None


def test_a_list_that_is_written_with_a_marker_reads_back(stores):
    stores.redis.rpush("homefeed:1", 9, 8, Marker(7).format())
    assert lists.read(stores.redis, "homefeed:1") == FloorList([9, 8], 7)


def test_an_absent_list_and_a_list_that_is_being_built_say_nothing(stores):
    assert stored(stores, 1) is None
    lists.open_to_build(stores.redis, stores.keys.homefeed(1), 60)
    assert stored(stores, 1) is None
    build(stores, 1)
    assert stored(stores, 1) == FloorList([], 0)


def test_an_empty_feed_exists_and_takes_pushes(stores):
    build(stores, 1)
    assert deliver(stores, POST, [1]) == END
    assert stored(stores, 1) == FloorList([POST], 0)


def test_a_feed_that_does_not_exist_is_skipped_and_stays_absent(stores):
    assert deliver(stores, POST, [1]) == END
    assert not stores.redis.exists(stores.keys.homefeed(1))
    assert stores.redis.hgetall(stores.keys.fanout(POST, stores.keys.bucket(1), 0)) == {
        b"cursor": b"end",
        b"delivered": b"0",
        b"skipped": b"1",
        b"batches": b"1",
    }


def test_posts_pushed_while_a_feed_is_built_stay_at_its_head(stores):
    key = stores.keys.homefeed(1)
    marker = lists.open_to_build(stores.redis, key, 60)
    deliver(stores, POST, [1])
    assert lists.finish(
        stores.redis, key, marker, FloorList([POST - 1, POST - 2], 7), stores.limits
    )
    assert stored(stores, 1) == FloorList([POST, POST - 1, POST - 2], 7)


def test_a_feed_is_trimmed_to_its_cap_and_its_floor_is_the_highest_id_cut(stores):
    build(stores, 1, [50, 90, 40], floor=30)
    for number in range(20):
        deliver(stores, POST + number, [1])
        feed = stored(stores, 1)
        assert len(feed.ids) <= stores.limits.feed_cap + stores.limits.feed_slack
        gone = {50, 90, 40, *range(POST, POST + number + 1)} - set(feed.ids)
        assert feed.floor == max({30, *gone})


def test_a_trim_of_a_feed_being_built_gives_it_a_new_token(stores):
    key = stores.keys.homefeed(1)
    marker = lists.open_to_build(stores.redis, key, 60)
    for number in range(15):
        deliver(stores, POST + number, [1])
    assert not lists.finish(stores.redis, key, marker, FloorList([], 0), stores.limits)
    assert stored(stores, 1) is None
    assert lists.open_to_build(stores.redis, key, 60) != marker


def test_ids_that_find_no_room_when_a_feed_is_finished_are_below_its_floor(stores):
    key = stores.keys.homefeed(1)
    marker = lists.open_to_build(stores.redis, key, 60)
    for number in range(4):
        deliver(stores, POST + number, [1])
    assert lists.finish(
        stores.redis, key, marker, FloorList(list(range(100, 90, -1)), 90), stores.limits
    )
    feed = stored(stores, 1)
    assert len(feed.ids) == stores.limits.feed_cap
    assert feed.floor == 94
    assert feed.ids[-6:] == [100, 99, 98, 97, 96, 95]


def test_a_slice_run_twice_is_delivered_once(stores):
    build(stores, 1)
    assert deliver(stores, POST, [1]) == END
    assert deliver(stores, POST, [1]) == END
    assert stored(stores, 1).ids == [POST]
    assert (
        stores.redis.hget(stores.keys.fanout(POST, stores.keys.bucket(1), 0), "delivered") == b"1"
    )


def test_a_slice_with_another_cursor_pushes_nothing_and_returns_the_cursor(stores):
    build(stores, NEXT)
    deliver(stores, POST, [1], end="1")
    assert deliver(stores, POST, [NEXT], start=START) == "1"
    assert deliver(stores, POST, [NEXT], start="77") == "1"
    assert stored(stores, NEXT).ids == []


def test_later_slices_of_a_trip_push_nothing_after_a_slice_that_does_not_fit(stores):
    build(stores, 3)
    parts = [Slice("5", "2", ["2"]), Slice("2", "3", ["3"])]
    assert delivery.deliver(stores, POST, 999, parts) == {0: START}
    assert stored(stores, 3).ids == []


def test_account_ids_that_tie_as_doubles_are_told_apart(stores):
    """2^53 + 1 is no double: as numbers the two cursors would be equal."""
    low, high = str(2**53), str(2**53 + 1)
    build(stores, int(high))
    assert delivery.deliver(stores, POST, 999, [Slice(START, low, [low])]) == {0: low}
    assert delivery.deliver(stores, POST, 999, [Slice(high, END, [high])]) == {0: low}
    assert stored(stores, int(high)).ids == []


def test_the_authors_own_feed_takes_the_post_and_is_not_counted(stores):
    author = NEXT + CLUSTER_BUCKETS
    build(stores, author)
    build(stores, 1)
    deliver(stores, POST, [1, NEXT], author=author)
    assert stored(stores, author).ids == [POST]
    assert stores.redis.hmget(
        stores.keys.fanout(POST, stores.keys.bucket(1), 0), "delivered", "skipped"
    ) == [b"1", b"1"]


def test_a_server_that_lost_its_scripts_loads_them_again(stores):
    build(stores, 1)
    stores.redis.script_flush()
    assert deliver(stores, POST, [1]) == END
    stores.redis.script_flush()
    build(stores, 2)


def test_an_absent_celebrity_list_begins_as_being_built(stores):
    key = keys.celebrity_posts(1)
    marker = put_post(stores, 1, POST)
    assert marker is not None
    assert lists.read(stores.redis, key) is None
    lists.finish(stores.redis, key, marker, FloorList([POST, 5], 0), stores.limits)
    assert put_post(stores, 1, POST + 1) is None
    assert lists.read(stores.redis, key) == FloorList([POST + 1, POST, POST, 5], 0)


def test_a_take_off_deletes_a_celebrity_list_that_is_being_built(stores):
    key = keys.celebrity_posts(1)
    marker = put_post(stores, 1, POST)
    trip = RoundTrip(stores.redis)
    is_empty = celebrities.add_take_off(trip, 1, POST)
    trip.run()
    assert not is_empty.value
    assert not lists.finish(stores.redis, key, marker, FloorList([POST], 0), stores.limits)
    assert not stores.redis.exists(key)
