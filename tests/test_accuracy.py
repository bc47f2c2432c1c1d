"""The errors, verdicts and table that follow from a sweep. Nothing here runs a sweep."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from types import SimpleNamespace

import pytest

from benchmarks import charts, results, summary, verdicts
from benchmarks.compared import PULL, PUSH, GraphRounds, Round, compare, with_reads_of_mix
from benchmarks.criteria import BY_NAME
from benchmarks.results import Options
from benchmarks.sweep import Run
from feedsvc.planning.calibrated import DEFAULT_COSTS
from feedsvc.planning.costs import UnitCosts
from feedsvc.planning.survey.aggregates import ListsAt, Survey

LIMITS = SimpleNamespace(fanout_batch=10_000, fanout_slice=1_000)
# A small pushed post costs 10 ms, and a merged list 100 µs.
COSTS = UnitCosts(
    **dict.fromkeys(vars(DEFAULT_COSTS), 0.0) | {"small_fanout_us": 10_000.0, "list_us": 100.0}
)


def lists_at(promote_at, mean):
    about = dict.fromkeys(
        ("mean_margin", "p50_margin", "p99_margin", "merging", "entries", "feed_entries"), 0.0
    )
    return ListsAt(promote_at=promote_at, mean=mean, p50=0, p99=0, largest=0, **about)


def inputs():
    nothing = dict.fromkeys(
        ("window_seconds", "reads", "reads_margin", "materialised_feeds", "materialised_margin"),
        0.0,
    )
    return Survey(
        taken_at=dt.datetime(2026, 11, 25, tzinfo=dt.UTC),
        accounts=10,
        largest=8,
        posts=7.0,
        viewers_sampled=10,
        materialised_share=1.0,
        assumed=[],
        complete_from=1,
        cells=[],
        named=[],
        lists=[lists_at(1, 4.0), lists_at(4, 2.0), lists_at(16, 0.0)],
        **nothing,
    )


def run_at(promote_at, pushed, lists, merging):
    operations = Counter({"read": 90, "blind": 90, "rebuild": 10, "post": 4})
    seconds = {"read": 1.0 + merging, "blind": 1.0, "rebuild": 0.5, "post": 0.2 + 0.002 * pushed}
    return Run(
        promote_at, operations, seconds, 0.1 + 0.008 * pushed, 2.0, lists * 100, [5] * pushed, 1.0
    )


def found(rounds=3):
    runs = {
        PULL: run_at(PULL, 0, 4, 0.036),
        4: run_at(4, 2, 2, 0.009),
        PUSH: run_at(PUSH, 4, 0, 0.0),
    }
    return GraphRounds(inputs(), LIMITS, 4, [Round(COSTS, runs) for _ in range(rounds)], "redis 7")


def test_an_error_is_the_median_ratio_of_measured_and_predicted_differences():
    pull, middle, push = compare(found())
    assert push.push.measured == pytest.approx([0.04] * 3)
    assert push.push.predicted == pytest.approx([0.04] * 3)
    assert push.push.error == pytest.approx(0)
    assert pull.pull.error == pytest.approx(0)
    assert middle.pull.measured == pytest.approx([0.01] * 3)
    assert middle.pull.error == pytest.approx(1)
    assert middle.lists.measured == [2.0] * 3
    assert middle.total == pytest.approx([1.009 + 0.5 + 0.204 + 0.016] * 3)


def test_the_mix_has_a_hundred_reads_for_each_post():
    assert with_reads_of_mix(inputs()).reads == 700.0


def test_the_largest_error_is_the_result_and_the_table_goes_into_its_document(tmp_path):
    result = results.complete(
        "accuracy",
        "Accuracy",
        verdicts.result({"G2": found(), "G4": found()}) | {"settings": {}},
        Options(3),
    )
    assert set(result["rows"]) <= set(BY_NAME)
    assert result["rows"]["G2 pull"] == pytest.approx([1])
    assert result["rows"]["G4 push"] == pytest.approx([0])
    assert result["rows"]["G4 recommended"][0] == pytest.approx(1.0, abs=0.01)
    document = tmp_path / "evidence/threshold.md"
    document.parent.mkdir()
    document.write_text(
        "a\n<!-- accuracy: written by make bench -->\nstale\n<!-- end of accuracy -->\nb\n"
    )
    summary.write_tables([result], tmp_path)
    written = document.read_text()
    assert "| G2 | **4** (recommended) | 0.02 | 0.02 | " in written
    assert "stale" not in written
    charts.draw(result, tmp_path / "accuracy.svg")
