"""Lanes divide the followers: each is in exactly one, and a cursor says in which."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feedsvc.fanout import lanes
from feedsvc.graph import followers

bounds = st.lists(st.integers(1, 2**63 - 1), unique=True, max_size=8).map(sorted)


@given(bounds=bounds, follower=st.integers(1, 2**63 - 1))
def test_a_follower_is_carried_by_the_lane_whose_range_it_is_in(bounds, follower):
    lane = lanes.carrying(bounds, follower)
    assert int(lane.start) < follower
    assert lane.last is None or follower <= lane.last
    assert lanes.between(bounds)[lane.number] == lane


@given(bounds=bounds, cursor=st.integers(0, 2**63 - 2))
def test_a_cursor_stands_in_the_lane_that_carries_the_next_follower(bounds, cursor):
    assert lanes.at(bounds, str(cursor)) == lanes.carrying(bounds, cursor + 1)


def test_few_followers_are_one_lane_and_many_are_no_more_than_eight():
    assert [lanes.count(followers, 10) for followers in (0, 39, 40, 60, 10**9)] == [1, 1, 2, 3, 8]


def test_followers_are_divided_into_parts_of_one_size(world, stores):
    world.crowd(9, range(101, 111))
    with stores.sql.reading() as connection:
        assert followers.dividing(connection, 9, 10, 3) == [103, 106]
        assert followers.dividing(connection, 9, 100, 3) == [], "they have become fewer"
