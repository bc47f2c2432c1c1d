"""Cutting a batch into slices, bucket by bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from feedsvc.fanout import slices
from feedsvc.fanout.slices import Batch
from feedsvc.store.redis.delivery import END, START, WHOLE, Lane, earliest, position
from feedsvc.store.redis.keys import CLUSTER_BUCKETS, Keys

ids = st.lists(st.integers(1, 2**63 - 1), unique=True).map(sorted)


ONE = Keys()


def cut(batch, keys=ONE, author=999, reached=None, size=2, lane=WHOLE):
    return [
        (part.start, part.end, list(part.followers))
        for part in slices.cut(batch, lane, keys, author, reached or {}, size)
    ]


def test_a_batch_is_cut_into_slices_that_join():
    assert cut(Batch("0", END, ["1", "2", "3", "4", "5"])) == [
        ("0", "2", ["1", "2"]),
        ("2", "4", ["3", "4"]),
        ("4", END, ["5"]),
    ]
    assert cut(Batch("0", "2", ["1", "2"])) == [("0", "2", ["1", "2"])]
    assert cut(Batch("7", END, [])) == [("7", END, [])]


def test_each_bucket_has_its_own_slices_up_to_the_end_of_the_batch():
    assert cut(Batch("1", "6", ["2", "3", "4", "6"]), Keys(2)) == [
        ("1", "4", ["2", "4"]),
        ("4", "6", ["6"]),
        ("1", "6", ["3"]),
    ]


def test_a_batch_also_moves_the_cursor_of_buckets_without_followers():
    assert cut(Batch("1", "6", ["6"]), Keys(3)) == [
        ("1", "6", ["6"]),
        ("1", "6", []),
        ("1", "6", []),
    ]


def test_a_fan_out_of_one_batch_touches_only_the_buckets_of_followers_and_author():
    assert cut(Batch(START, END, ["3"]), Keys(3), author=4) == [
        (START, END, ["3"]),
        (START, END, []),
    ]


def test_a_lane_of_one_batch_touches_every_bucket():
    """The link that ends another lane reads these cursors and does not know the followers."""
    assert cut(Batch(START, END, ["3"]), Keys(3), author=4, lane=Lane(0, START, 9)) == [
        (START, END, ["3"]),
        *2 * [(START, END, [])],
    ]


def test_a_bucket_that_is_ahead_goes_on_from_its_own_cursor():
    batch = Batch("0", "8", ["1", "2", "3", "4", "5", "8"])
    assert cut(batch, Keys(2), reached={1: "3"}, size=9) == [
        ("0", "8", ["2", "4", "8"]),
        ("3", "8", ["5"]),
    ]
    assert cut(batch, Keys(2), reached={0: "0", 1: "9"}, size=9) == [("0", "8", ["2", "4", "8"])]
    assert cut(batch, Keys(2), reached={0: END}, size=9) == [("0", "8", ["1", "3", "5"])]


@given(ids, st.sampled_from([1, 2, CLUSTER_BUCKETS]), st.integers(1, 5), st.booleans())
def test_every_follower_is_in_one_slice_of_its_bucket(followers, buckets, size, last):
    names = [str(follower) for follower in followers]
    keys = Keys(buckets)
    parts = slices.cut(
        Batch("0", END if last or not names else names[-1], names), WHOLE, keys, 7, {}, size
    )
    assert sorted((name for part in parts for name in part.followers), key=int) == names
    assert all(keys.bucket(int(name)) == part.bucket for part in parts for name in part.followers)
    assert all(len(part.followers) <= size for part in parts)


def test_cursors_are_compared_as_exact_numbers():
    low, high = str(2**53), str(2**53 + 1)
    assert earliest([high, low, END]) == low
    assert position(low) < position(high) < position(END)


def test_the_buckets_of_a_cluster_are_evenly_spaced_over_its_slots():
    slots = [
        key_slot(Keys(CLUSTER_BUCKETS).homefeed_prefix(bucket).encode())
        for bucket in range(CLUSTER_BUCKETS)
    ]
    assert [slot * CLUSTER_BUCKETS // 16384 for slot in slots] == list(range(CLUSTER_BUCKETS))
    assert Keys(CLUSTER_BUCKETS).homefeed(1990) == "homefeed:{106}:1990"
