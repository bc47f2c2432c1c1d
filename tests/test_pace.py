"""How a fan-out shares the store with readers."""

from __future__ import annotations

import time

import pytest

from feedsvc.fanout import micro_batches, pace
from feedsvc.fanout.pace import YOUNG_SECONDS, is_young, slice_of
from feedsvc.post_ids import lowest_of
from feedsvc.store.redis import delivery


def made(seconds_ago):
    return lowest_of(int((time.time() - seconds_ago) * 1000))


def test_a_young_post_is_pushed_in_whole_slices():
    assert (is_young(made(0)), slice_of(made(0), 250)) == (True, 250)
    assert (is_young(made(-60)), slice_of(made(-60), 250)) == (True, 250), "clocks differ"


def test_one_that_has_waited_is_pushed_in_small_slices():
    assert (is_young(made(YOUNG_SECONDS + 60)), slice_of(made(YOUNG_SECONDS + 60), 250)) == (
        False,
        62,
    )
    assert slice_of(made(YOUNG_SECONDS + 60), 2) == 1


@pytest.fixture
def trips(monkeypatch):
    """How many slices each round trip of pushes has."""
    found, real = [], delivery.streamed

    def counted(redis, script, calls):
        answers = real(redis, script, calls)
        found.append(len(answers))
        return answers

    monkeypatch.setattr(delivery, "streamed", counted)
    return found


@pytest.mark.parametrize(("seconds", "expected"), [(60.0, [2]), (0.0, [1, 1, 1])])
def test_slices_of_a_batch_share_a_trip_only_while_the_post_is_young(
    world, trips, monkeypatch, seconds, expected
):
    monkeypatch.setattr(pace, "YOUNG_SECONDS", seconds)
    world.crowd(9, [1 + 23 * number for number in range(3)])
    world.post(9)
    world.run_link()
    assert trips == expected


def test_a_link_that_finds_its_cursor_elsewhere_stops(world, trips, monkeypatch):
    monkeypatch.setattr(pace, "YOUNG_SECONDS", 0.0)
    world.crowd(9, [1 + 23 * number for number in range(5)])
    world.post(9)
    world.run_link(keep=True)
    trips.clear()
    world.run_link()
    assert trips == [1], "to see that its batch is delivered"


@pytest.mark.parametrize(("seconds", "expected"), [(60.0, [2]), (0.0, [1, 1])])
def test_small_posts_share_a_trip_only_while_they_are_young(
    world, trips, monkeypatch, seconds, expected
):
    monkeypatch.setattr(pace, "YOUNG_SECONDS", seconds)
    for author in (9, 32):
        world.crowd(author, [author + 23])
        world.post(author)
    micro_batches.run_round(world.stores)
    assert trips == expected
