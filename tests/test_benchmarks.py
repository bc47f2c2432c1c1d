"""The benchmarks run, at a tiny scale; nothing here says how fast anything is."""

from __future__ import annotations

import importlib
import json
from statistics import median

import pytest

from benchmarks import charts, fanout, results, server, summary
from benchmarks.__main__ import FAMILIES
from benchmarks.criteria import BY_NAME
from benchmarks.options import Options


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_measurement(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").measure)


@pytest.mark.skipif(
    server.benchmark_tool() is None, reason="redis-benchmark or valkey-benchmark is not installed"
)
def test_a_smoke_run_of_the_fan_out_gives_a_result_that_is_kept_and_summarised(tmp_path):
    options = Options(rounds=2, scale=0.001)
    result = results.complete(
        "fanout", "Fan-out", fanout.measure(options, with_peers=False), options
    )
    assert {name: len(values) for name, values in result["rows"].items()} == {"P1": 2}
    assert set(result["rows"]) <= set(BY_NAME)
    assert result["settings"]["followers"] == 100

    results.keep(result, tmp_path)
    assert results.kept(tmp_path) == [json.loads(json.dumps(result))]
    charts.draw(result, tmp_path / "fanout.svg")
    charts.draw_all([result], tmp_path / "summary.svg")
    (tmp_path / "README.md").write_text(f"before\n{summary.BEGIN}\nstale\n{summary.END}\nafter\n")
    summary.write([result], tmp_path / "README.md")
    written = (tmp_path / "README.md").read_text()
    assert "| P1 |" in written
    assert "stale" not in written
    assert written.startswith("before\n")
    assert written.endswith("after\n")


def test_the_readmes_chart_has_a_bar_for_each_rate_and_its_median(tmp_path):
    fanout_result = next(
        result for result in results.kept(results.FOLDER) if result["name"] == "fanout"
    )
    charts.draw_rates(fanout_result, tmp_path / "deliveries.svg")
    drawn = (tmp_path / "deliveries.svg").read_text()
    medians = [f">{median(values):,.0f}</text>" for values in fanout_result["series"].values()]
    assert [
        text
        for text in (">feedsvc</text>", ">Stream-Framework</text>", *medians)
        if text not in drawn
    ] == []
