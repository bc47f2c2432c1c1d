"""Lanes divide the followers: each follower is in exactly one lane, and a cursor says in which."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feedsvc.fanout import lanes
from feedsvc.graph import followers

bounds = st.lists(st.integers(1, 2**63 - 1), unique=True, max_size=8).map(sorted)


@given(bounds=bounds, follower=st.integers(1, 2**63 - 1))
def test_a_lane_delivers_to_the_followers_in_its_range(bounds, follower):
    lane = lanes.carrying(bounds, follower)
    assert int(lane.start) < follower
    assert lane.last is None or follower <= lane.last
    assert lanes.between(bounds)[lane.number] == lane


@given(bounds=bounds, cursor=st.integers(0, 2**63 - 2))
def test_a_cursor_belongs_to_the_lane_of_the_next_follower(bounds, cursor):
    assert lanes.at(bounds, str(cursor)) == lanes.carrying(bounds, cursor + 1)


def test_few_followers_make_one_lane_and_many_make_at_most_eight():
    assert [lanes.count(followers, 10) for followers in (0, 39, 40, 60, 10**9)] == [1, 1, 2, 3, 8]


def test_followers_are_divided_into_parts_of_equal_size(world, stores):
    world.add_followers(9, range(101, 111))
    with stores.sql.reading() as connection:
        assert followers.dividing(connection, 9, 10, 3) == [103, 106]
        assert followers.dividing(connection, 9, 100, 3) == [], (
            "the account has lost followers since"
        )
