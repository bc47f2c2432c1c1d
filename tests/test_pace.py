"""An older fan-out leaves the store to readers between small slices."""

from __future__ import annotations

import time

import pytest

from feedsvc.fanout import micro_batches, slices
from feedsvc.fanout.slices import YOUNG_SECONDS, is_young, size_now
from feedsvc.post_ids import lowest_of
from feedsvc.store.redis import delivery


def post_id(seconds_ago):
    return lowest_of(int((time.time() - seconds_ago) * 1000))


def test_a_young_post_is_pushed_in_whole_slices():
    assert (is_young(post_id(0)), size_now(post_id(0), 250)) == (True, 250)
    assert (is_young(post_id(-60)), size_now(post_id(-60), 250)) == (True, 250), (
        "a clock that is behind makes no post old"
    )


def test_a_post_that_has_waited_is_pushed_in_small_slices():
    assert (is_young(post_id(YOUNG_SECONDS + 60)), size_now(post_id(YOUNG_SECONDS + 60), 250)) == (
        False,
        62,
    )
    assert size_now(post_id(YOUNG_SECONDS + 60), 2) == 1


@pytest.fixture
def trips(monkeypatch):
    """The number of slices in each round trip of pushes."""
    found, real = [], delivery.stream

    def counted(redis, script, calls):
        answers = real(redis, script, calls)
        found.append(len(answers))
        return answers

    monkeypatch.setattr(delivery, "stream", counted)
    return found


@pytest.mark.parametrize(("seconds", "expected"), [(60.0, [2]), (0.0, [1, 1, 1])])
def test_slices_of_a_batch_share_a_round_trip_only_while_the_post_is_young(
    world, trips, monkeypatch, seconds, expected
):
    monkeypatch.setattr(slices, "YOUNG_SECONDS", seconds)
    world.add_followers(9, [1 + 23 * number for number in range(3)])
    world.post(9)
    world.run_link()
    assert trips == expected


def test_a_repeated_link_stops_after_one_slice(world, trips, monkeypatch):
    monkeypatch.setattr(slices, "YOUNG_SECONDS", 0.0)
    world.add_followers(9, [1 + 23 * number for number in range(5)])
    world.post(9)
    world.run_link(keep=True)
    trips.clear()
    world.run_link()
    assert trips == [1], "this one finds that the cursor has moved on"


@pytest.mark.parametrize(("seconds", "expected"), [(60.0, [2]), (0.0, [1, 1])])
def test_small_fan_outs_share_a_round_trip_only_while_their_posts_are_young(
    world, trips, monkeypatch, seconds, expected
):
    monkeypatch.setattr(slices, "YOUNG_SECONDS", seconds)
    for author in (9, 32):
        world.add_followers(author, [author + 23])
        world.post(author)
    micro_batches.run(world.stores)
    assert trips == expected
