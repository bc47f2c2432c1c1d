"""A calibration does real work on stores of its own, and the unit costs are learnt from it."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from feedsvc.planning import calibrate as calibrating
from feedsvc.planning import unit_costs
from feedsvc.planning.learning import DEFAULTS
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Base, Calibration
from tests.test_cli import run  # noqa: F401 -- a fixture


@pytest.fixture
def quick(monkeypatch):
    """Make calibration so small that its figures mean little, and that it is quick."""
    monkeypatch.setattr(calibrating, "ROUNDS", 2)
    monkeypatch.setattr(calibrating, "_ACCOUNTS", 400)
    monkeypatch.setattr(calibrating, "_SLICE", 10)
    monkeypatch.setattr(calibrating, "_PAUSE_SECONDS", 0)


def row_counts(stores):
    with stores.sql.reading() as connection:
        return {
            table.name: connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in Base.metadata.sorted_tables
            if table.name != "calibrations"
        }


def test_a_calibration_is_stored_and_changes_nothing_else(world, quick):
    world.add_followers(9, [1])
    world.post(9)
    before = row_counts(world.stores), set(world.stores.redis.scan_iter())
    rounds = []
    calibrating.calibrate(world.stores, lambda: rounds.append(1))
    assert (row_counts(world.stores), set(world.stores.redis.scan_iter())) == before
    found = unit_costs.learnt(world.stores, {})
    assert len(rounds) == 2
    assert found.calibrated_at
    assert "Python" in found.machine


def test_a_calibration_counts_every_kind_of_work_but_messages(stores, quick):
    calibrating.calibrate(stores)
    found = unit_costs.learnt(stores, {})
    kinds = {"read", "merge", "fetch", "upload", "link", "micro-batch"}
    assert {kind for kind, pieces in found.observations.items() if pieces} == kinds


def test_the_work_of_the_service_counts_with_that_of_the_calibration(stores, quick):
    calibrating.calibrate(stores)
    alone = unit_costs.learnt(stores, {}).observations
    own = {"read": {0: (1_000_000, 0, 0, 10**9)}}
    both = unit_costs.learnt(stores, own)
    assert both.observations == alone | {"read": alone["read"] + 1_000_000}
    assert 900 < both.costs.read_us < 1_100


def test_unit_costs_that_the_release_before_has_stored_are_ignored(stores):
    row = {"taken_at": now(), "machine": "another", "workers": 3, "margins": {}}
    with stores.sql.writing() as connection:
        connection.execute(sa.insert(Calibration), row | {"costs": {"upload_us": 1.0}})
    found = unit_costs.learnt(stores, {})
    assert found.calibrated_at is None
    assert found.costs.read_us == DEFAULTS.costs.read_us


def test_the_command_prints_the_unit_costs(run, stores, quick):  # noqa: F811
    code, out, _ = run("threshold", "calibrate", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["costs"]["upload_us"] > 0
    assert answer["observations"]["upload"] == 2 * 16
    code, out, _ = run("threshold", "calibrate")
    assert code == 0
    assert "unit costs learnt from" in out
