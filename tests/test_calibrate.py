"""Calibration measures with the service's own functions, on scratch stores that it leaves empty."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace

import pytest
import sqlalchemy as sa

from feedsvc.feed import reader
from feedsvc.planning import calibrated
from feedsvc.planning.calibration import calibrate as calibrating
from feedsvc.planning.calibration import (
    fixture_accounts,
    fixture_viewers,
    meter,
    rounds,
    scratch,
)
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
    """Make calibration so small that its figures mean nothing, and that it is quick."""
    monkeypatch.setattr(calibrating, "ROUNDS", 2)
    monkeypatch.setattr(calibrating, "_WARM_UP_ROUNDS", 0)
    monkeypatch.setattr(rounds, "READS", 2)
    for module in (calibrating, rounds):
        monkeypatch.setattr(module, "POSTS", 2)
    monkeypatch.setattr(calibrating, "_ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(meter, "_IDLE_SECONDS", 0.001)
    for module in (calibrating, rounds, fixture_accounts):
        monkeypatch.setattr(module, "FOLLOWERS", 40)
    monkeypatch.setattr(fixture_viewers, "VIEWERS", 3)
    for module in (calibrating, fixture_viewers):
        monkeypatch.setattr(module, "LISTS", 3)
        monkeypatch.setattr(module, "FEW", 5)
    monkeypatch.setattr(calibrating, "_LEAST_LISTS", 30)


def row_counts(stores):
    with stores.sql.reading() as connection:
        return {
            table.name: connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in Base.metadata.sorted_tables
            if table.name != "calibrations"
        }


def test_a_calibration_is_stored_and_changes_nothing_else(world, quick, broker_url, app):
    world.add_followers(9, [1, 2])
    world.post(9)
    before, keys = row_counts(world.stores), set(world.stores.redis.keys())
    progress = []
    found = calibrating.calibrate(
        world.stores, app.extensions["feedsvc"].celery, lambda: progress.append(1)
    )
    assert len(progress) == 2
    assert found.costs.push_us > 0
    assert found.costs.entry_bytes > 1
    assert all(value >= 0 for value in vars(found.costs).values())
    assert calibrated.latest(world.stores) == found
    assert (row_counts(world.stores), set(world.stores.redis.keys())) == (before, keys)
    with scratch._scratch_client(world.stores.redis) as client:
        assert client.dbsize() == 0
    survey.refresh(world.stores)
    assert preview(world.stores, 5).costs.machine == found.machine


def test_scratch_stores_are_empty_and_vanish_after_an_error(stores):
    def fail():
        with scratch_stores(stores) as found:
            with found.sql.writing() as connection:
                connection.execute(sa.insert(Account), {"id": 7})
            found.redis.set("x", 1)
            assert row_counts(stores)["accounts"] == 0
            assert not stores.redis.exists("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with scratch._scratch_client(stores.redis) as client:
        assert client.dbsize() == 0
    with scratch_stores(stores) as found, found.sql.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Post)) == 0


def test_a_calibration_refuses_a_database_in_use(stores):
    with (
        scratch_stores(stores),
        pytest.raises(NoScratch, match="under way"),
        scratch_stores(stores),
    ):
        pass
    with scratch._scratch_client(stores.redis) as client:
        client.set("somebody's", 1)
        with pytest.raises(NoScratch, match="in use"), scratch_stores(stores):
            pass
        assert not scratch.clean(stores)
        assert client.get("somebody's") == b"1"
        client.flushdb()


def test_the_next_survey_removes_the_keys_of_a_killed_calibration(stores):
    with scratch._scratch_client(stores.redis) as client:
        client.mset({CALIBRATION: 1, "homefeed:1": "left"})
        assert survey.refresh_if_old(stores)
        assert client.dbsize() == 0


def test_fixture_viewers_read_pages_of_home_feeds_and_celebrity_lists(stores, quick):
    with scratch_stores(stores) as opened:
        scratched = replace(opened, limits=replace(stores.limits, feed_cap=60))
        found = fixture_viewers.FixtureViewers(scratched, 30, random.Random(1))
        found.build()
        assert [viewer for _, viewer in found.draw(1, 2)] != [
            viewer for _, viewer in found.draw(2, 2)
        ]
        young = {NONE: 3, ONE: 3 + fixture_viewers.SHORT, ONE_LONG: 3 + fixture_viewers.LONG}
        for kind, lists in {NONE: 0, ONE: 1, ONE_LONG: 1, MANY: 3, AMONG_FEW: 3}.items():
            for number, viewer in enumerate(found.viewers[kind]):
                feed = reader.read_feed(found.process_of(kind), viewer)
                same = reader.read_feed(found.no_lists, viewer)
                page = [json.loads(item.json)["author_id"] for item in feed.below(2**60, 30)]
                posts = young.get(kind, 6) if number else 30
                assert (len(page), feed.merged_lists, same.merged_lists) == (posts, lists, 0)
                assert (len(set(page)) > 1) == (lists > 0), "home feeds and lists share posts"
                assert [item.id for item in feed.below(2**60, 30)] == [
                    item.id for item in same.below(2**60, 30)
                ]
                assert {each.load for each in feed.merged.cached} <= {1}, (
                    "the process has cached the lists from the beginning"
                )
                assert feed.merged.recent.below(2**60, 20, feed.authors, 8 * lists) is None, (
                    "few of the latest posts belong to one viewer"
                )
        assert len(found.stores.near_cache._snapshot.lists) == found.cached_lists
        assert len(found.few_lists.near_cache._snapshot.lists) == 5


def test_unit_costs_are_differences_of_measurements():
    names = (
        "upload",
        "ids",
        "push",
        "skip",
        "take off",
        "sweep",
        "link",
        "micro-batch",
        "micro-batch of many",
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
    assert costs.small_fanout_us == 0, "no unit cost is below 0"


def test_a_stored_calibration_without_newer_unit_costs_is_read(stores):
    newer = {"look_up_us", "list_tenfold_us"}
    costs = {
        name: value for name, value in vars(calibrated.DEFAULT_COSTS).items() if name not in newer
    }
    row = {"taken_at": now(), "machine": "another", "workers": 3, "costs": costs, "margins": costs}
    with stores.sql.writing() as connection:
        connection.execute(sa.insert(Calibration), row)
    found = calibrated.latest(stores)
    assert found.costs == replace(calibrated.DEFAULT_COSTS, **dict.fromkeys(newer, 0.0))
    assert found.workers == 3


def test_the_command_prints_the_unit_costs(run, stores, quick):  # noqa: F811
    code, out, _ = run("threshold", "calibrate", "--json")
    assert code == 0
    assert json.loads(out)["is_default"] is False
    code, out, _ = run("threshold", "calibrate")
    assert code == 0
    assert "push_us" in out
