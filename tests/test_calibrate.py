"""Calibration: it measures with the service's own functions, in a place that nobody sees, and leaves nothing there."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import sqlalchemy as sa

from feedsvc.feed import reader
from feedsvc.planning import calibrated
from feedsvc.planning.calibration import calibrate as calibrating
from feedsvc.planning.calibration import fixture_accounts, fixture_viewers, meter, scratch
from feedsvc.planning.calibration.fixture_viewers import AMONG_FEW, MANY, NONE, ONE, ONE_LONG
from feedsvc.planning.calibration.scratch import NoScratch, scratch_stores
from feedsvc.planning.preview import preview
from feedsvc.planning.survey import survey
from feedsvc.store.redis.keys import CALIBRATION
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Base, Calibration, Post
from tests.test_cli import run  # noqa: F401 -- a fixture

pytestmark = pytest.mark.skipif(
    os.environ.get("FEEDSVC_TEST_REDIS") == "cluster", reason="measured on a single node"
)


@pytest.fixture
def quick(monkeypatch):
    """A stage so small that it says nothing, and costs nothing."""
    monkeypatch.setattr(calibrating, "ROUNDS", 2)
    monkeypatch.setattr(calibrating, "_WARM", 0)
    monkeypatch.setattr(calibrating, "_READS", 2)
    monkeypatch.setattr(calibrating, "_POSTS", 2)
    monkeypatch.setattr(calibrating, "_ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(meter, "_IDLE_SECONDS", 0.001)
    for module in (calibrating, fixture_accounts):
        monkeypatch.setattr(module, "FOLLOWERS", 40)
    monkeypatch.setattr(fixture_viewers, "VIEWERS", 3)
    for module in (calibrating, fixture_viewers):
        monkeypatch.setattr(module, "LISTS", 3)
        monkeypatch.setattr(module, "FEW", 5)
    monkeypatch.setattr(calibrating, "_LEAST_HELD", 30)


def rows(stores):
    with stores.sql.reading() as connection:
        return {
            table.name: connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in Base.metadata.sorted_tables
            if table.name != "calibrations"
        }


def test_a_calibration_is_kept_and_touches_nothing_of_the_service(world, quick, broker_url, app):
    world.crowd(9, [1, 2])
    world.post(9)
    before, keys = rows(world.stores), set(world.stores.redis.keys())
    told = []
    found = calibrating.calibrate(
        world.stores, app.extensions["feedsvc"].celery, lambda: told.append(1)
    )
    assert len(told) == 2
    assert found.costs.push_us > 0
    assert found.costs.entry_bytes > 1
    assert all(value >= 0 for value in vars(found.costs).values())
    assert calibrated.calibrated(world.stores) == found
    assert (rows(world.stores), set(world.stores.redis.keys())) == (before, keys)
    with scratch._beside(world.stores.redis) as beside:
        assert beside.dbsize() == 0
    survey.refresh(world.stores)
    assert preview(world.stores, 5).costs.machine == found.machine


def test_what_is_measured_in_is_empty_and_ends_with_an_error_too(stores):
    def fail():
        with scratch_stores(stores) as found:
            with found.sql.writing() as connection:
                connection.execute(sa.insert(Account), {"id": 7})
            found.redis.set("x", 1)
            assert rows(stores)["accounts"] == 0
            assert not stores.redis.exists("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with scratch._beside(stores.redis) as beside:
        assert beside.dbsize() == 0
    with scratch_stores(stores) as found, found.sql.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Post)) == 0


def test_two_calibrations_at_once_and_a_database_in_use_are_refused(stores):
    with (
        scratch_stores(stores),
        pytest.raises(NoScratch, match="under way"),
        scratch_stores(stores),
    ):
        pass
    with scratch._beside(stores.redis) as beside:
        beside.set("somebody's", 1)
        with pytest.raises(NoScratch, match="in use"), scratch_stores(stores):
            pass
        assert not scratch.clean(stores)
        assert beside.get("somebody's") == b"1"
        beside.flushdb()


def test_what_a_killed_calibration_has_left_is_removed_by_the_next_look(stores):
    with scratch._beside(stores.redis) as beside:
        beside.mset({CALIBRATION: 1, "homefeed:1": "left"})
        assert survey.refresh_if_old(stores)
        assert beside.dbsize() == 0


def test_those_who_are_measured_have_pages_of_home_lists_and_of_celebrity_lists(stores, quick):
    with scratch_stores(stores) as scratched:
        found = replace(scratched, limits=replace(stores.limits, feed_cap=60))
        measured = fixture_accounts.FixtureAccounts(found, 30)
        measured.build()
        there = measured.audience
        assert [viewer for _, viewer in there.turn(1, 2)] != [
            viewer for _, viewer in there.turn(2, 2)
        ]
        for kind, lists in {NONE: 0, ONE: 1, ONE_LONG: 1, MANY: 3, AMONG_FEW: 3}.items():
            for number, viewer in enumerate(there.viewers[kind]):
                posts = (
                    {
                        NONE: 3,
                        ONE: 3 + fixture_viewers.SHORT,
                        ONE_LONG: 3 + fixture_viewers.LONG,
                    }.get(kind, 6)
                    if number
                    else 30
                )
                feed, same = (
                    reader.look(there.seeing(kind), viewer),
                    reader.look(there.blind, viewer),
                )
                page = [json.loads(item.json)["author_id"] for item in feed.below(2**60, 30)]
                assert (len(page), feed.lists, same.lists) == (posts, lists, 0)
                assert (len(set(page)) > 1) == (lists > 0), "posts of a day are on both"
                assert [item.id for item in feed.below(2**60, 30)] == [
                    item.id for item in same.below(2**60, 30)
                ]
                assert {each.load for each in feed.merged.held} <= {1}, (
                    "the process has held them from the beginning"
                )
                assert feed.merged.latest.below(2**60, 20, feed.authors, 8 * lists) is None, (
                    "few of the latest posts are one viewer's"
                )
        assert (
            len(there.stores.near_cache._known.lists),
            len(there.among_few.near_cache._known.lists),
        ) == (there.held, 5)


def test_unit_costs_are_what_one_measurement_has_more_than_another():
    names = (
        "upload",
        "ids",
        "push",
        "skip",
        "take off",
        "sweep",
        "link",
        "round",
        "round of many",
        "message",
    )
    long = 160.0 + 0.1 * (fixture_viewers.LONG - fixture_viewers.SHORT)
    many = (
        160
        + 10 * (fixture_viewers.LISTS - 1)
        + 0.1 * (fixture_viewers.LISTS - fixture_viewers.SHORT)
    )
    lists = {
        MANY: many,
        NONE: 50.0,
        AMONG_FEW: 150 + fixture_viewers.LISTS * (8 + 0.1) - fixture_viewers.SHORT * 0.1,
    }
    reads = {"read": 500.0, ONE: 160.0, ONE_LONG: long, **lists, "learn": 40.0}
    times = {**dict.fromkeys(names, 0.0), **reads, "link": 5000.0, "push": 1.0}
    costs = calibrating.unit_costs(
        times, {"feed_bytes": 1, "entry_bytes": 2}, 100 * fixture_viewers.FEW
    )
    assert costs.list_entry_us == pytest.approx(0.1)
    assert costs.list_tenfold_us == pytest.approx(1)
    assert costs.list_us == pytest.approx(5)
    assert costs.first_list_us == pytest.approx(100 - fixture_viewers.SHORT * 0.1)
    assert (costs.read_us, costs.learn_us, costs.look_up_us) == (500, 40, 10)
    assert costs.link_us == pytest.approx(5000 - fixture_accounts.FOLLOWERS)
    assert costs.small_fanout_us == 0, "nothing costs less than nothing"


def test_a_calibration_of_an_earlier_version_still_holds(stores):
    newer = {"look_up_us", "list_tenfold_us"}
    costs = {
        name: value for name, value in vars(calibrated.DEFAULT_COSTS).items() if name not in newer
    }
    row = {"taken_at": now(), "machine": "another", "workers": 3, "costs": costs, "margins": costs}
    with stores.sql.writing() as connection:
        connection.execute(sa.insert(Calibration), row)
    found = calibrated.calibrated(stores)
    assert found.costs == replace(calibrated.DEFAULT_COSTS, **dict.fromkeys(newer, 0.0))
    assert found.workers == 3


def test_the_command_prints_what_was_measured(run, stores, quick):  # noqa: F811
    code, out, _ = run("threshold", "calibrate", "--json")
    assert code == 0
    assert json.loads(out)["is_default"] is False
    code, out, _ = run("threshold", "calibrate")
    assert code == 0
    assert "push_us" in out
