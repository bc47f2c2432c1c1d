"""The benchmarks run, at a tiny scale. No test here says how fast anything is."""

from __future__ import annotations

import importlib
import json
from statistics import median

import pytest

from benchmarks import beside, charts, fanout, results, server, summary
from benchmarks.__main__ import FAMILIES
from benchmarks.criteria import BY_NAME
from benchmarks.results import Options


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_measurement(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").measure)


@pytest.mark.skipif(
    server.load_generator() is None, reason="redis-benchmark or valkey-benchmark is not installed"
)
def test_a_smoke_run_of_the_fan_out_gives_a_result_that_is_stored_and_summarised(tmp_path):
    options = Options(rounds=2, scale=0.001)
    result = results.complete(
        "fanout", "Fan-out", fanout.measure(options, with_peers=False), options
    )
    assert {name: len(values) for name, values in result["rows"].items()} == {"P1": 2}
    assert set(result["rows"]) <= set(BY_NAME)
    assert result["settings"]["followers"] == 100

    results.store(result, tmp_path)
    assert results.stored(tmp_path) == [json.loads(json.dumps(result))]
    charts.draw(result, tmp_path / "fanout.svg")
    charts.draw_all([result], tmp_path / "summary.svg")
    (tmp_path / "README.md").write_text(f"before\n{summary.BEGIN}\nstale\n{summary.END}\nafter\n")
    summary.write([result], tmp_path / "README.md")
    written = (tmp_path / "README.md").read_text()
    assert "| P1 |" in written
    assert "stale" not in written
    assert written.startswith("before\n")
    assert written.endswith("after\n")


def test_the_chart_of_the_readme_has_a_bar_for_each_rate_and_its_median(tmp_path):
    fanout_result = next(
        result for result in results.stored(results.FOLDER) if result["name"] == "fanout"
    )
    charts.draw_rates(fanout_result, tmp_path / "deliveries.svg")
    drawn = (tmp_path / "deliveries.svg").read_text()
    medians = [f">{median(values):,.0f}</text>" for values in fanout_result["series"].values()]
    expected = (">feedsvc</text>", ">Stream-Framework</text>", *medians)
    assert [text for text in expected if text not in drawn] == []


def test_a_comparison_runs_the_code_of_the_other_checkout(tmp_path):
    package = tmp_path / "benchmarks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "from collections import namedtuple\nOptions = namedtuple('Options', 'rounds scale')\n"
    )
    (package / "fanout.py").write_text(
        "def measure(options, *, with_peers):\n"
        "    assert not with_peers\n"
        "    print('a log line')\n"
        "    return {'rows': {'P1': [options.scale]}, 'series': {'rate': [7]}}\n"
    )
    assert beside.measure_once(tmp_path, "fanout", 0.5) == {"P1": 0.5, "rate": 7}


def test_a_comparison_shows_the_median_of_the_ratios_of_each_round():
    own = {"P1": [1.0, 4.0, 6.0], "only here": [1.0]}
    [_, line] = beside.table("fanout", own, {"P1": [2.0, 2.0, 2.0], "P16": [0.0]})
    assert line.split() == ["P1", "4", "2", "2.000", "(0.500", "to", "3.000)"]
