"""The errors, verdicts and table that follow from recorded rounds, and one small measurement."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner

from benchmarks import accuracy, charts, graphs, recording, results, rounds, summary, verdicts
from benchmarks.compared import compare, recommended, with_reads
from benchmarks.criteria import BY_NAME
from benchmarks.mixes import MIXES, W1, W2, W3
from benchmarks.recording import PULL, PUSH, Recording, Round, Run, Service
from benchmarks.results import Options
from benchmarks.rounds import Plan
from feedsvc.planning import learning
from feedsvc.planning.costs import Batches, UnitCosts
from feedsvc.planning.survey.aggregates import ListsAt, Survey
from feedsvc.store.redis.work import BUCKETS

# A small pushed post costs 1 ms, and merging any lists 400 µs.
COSTS = UnitCosts(
    **dict.fromkeys(vars(learning.DEFAULTS.costs), 0.0)
    | {"small_post_us": 1_000.0, "first_list_us": 400.0}
)


def lists_at(promote_at, mean, merging):
    nothing = dict.fromkeys(("mean_margin", "p50_margin", "p99_margin", "feed_entries"), 0.0)
    rest = [0.0] * (BUCKETS - 2)
    return ListsAt(
        promote_at=promote_at,
        mean=mean,
        p50=0,
        p99=0,
        largest=0,
        shares=[1 - merging, merging, *rest],
        parts=[0.0, mean, *rest],
        **nothing,
    )


def survey():
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
        reading_processes=1,
        working_processes=2,
        work={},
        assumed=[],
        complete_from=1,
        cells=[],
        named=[],
        lists=[lists_at(1, 4.0, 1.0), lists_at(4, 2.0, 0.5), lists_at(16, 0.0, 0.0)],
        **nothing,
    )


def run_at(promote_at, pushed, lists, merging):
    return Run(
        promote_at=promote_at,
        operations={"read": 90, "blind": 90, "rebuild": 10, "post": 4},
        seconds={
            "read": 1.0 + merging,
            "blind": 1.0,
            "rebuild": 0.5,
            "post": 0.2 + 0.0002 * pushed,
        },
        behind=0.1 + 0.0008 * pushed,
        wall=2.0,
        by_lists={lists: (90, 1.0 + merging, 1.0)},
        pushed=[5] * pushed,
        pulled=3,
        redis_bytes=1_000,
        figures={"lists": 360, "read:0:pieces": 9, "read:0:us": 900},
        pace=1.0,
    )


def recorded(graph="G2", mix="W1", rounds=3, *, by_rates=None):
    runs = {
        PULL: run_at(PULL, 0, 4, 0.036),
        4: run_at(4, 20, 2, 0.009),
        PUSH: run_at(PUSH, 40, 0, 0.0),
    }
    return Recording(
        graph=graph,
        mix=mix,
        service=Service(100, Batches(batch=10_000, small=1_000), 1 << 20),
        server="redis 7",
        settings={"graph": f"{graph}: 10 accounts", "operations": 104, "cap": 100},
        rounds=[Round(survey(), 0.05, runs, by_rates) for _ in range(rounds)],
    )


def test_an_error_is_the_median_ratio_of_predicted_and_measured_differences():
    pull, middle, push = compare(recorded(), COSTS)
    assert push.push.measured == pytest.approx([0.04] * 3)
    assert push.push.predicted == pytest.approx([0.04] * 3)
    assert push.push.error == pytest.approx(0)
    assert pull.pull.error == pytest.approx(0)
    assert middle.pull.measured == pytest.approx([0.01] * 3)
    assert middle.pull.error == pytest.approx(1)
    assert middle.lists.measured == [2.0] * 3
    assert middle.total == pytest.approx([1.009 + 0.5 + 0.204 + 0.016] * 3)


def test_a_figure_below_a_tenth_of_the_cost_or_of_few_posts_is_not_judged():
    pull, middle, push = compare(recorded(), COSTS)
    assert set(pull.judged()) == {"pull", "lists"}
    assert set(middle.judged()) == {"push", "pull", "lists"}
    assert set(push.judged()) == {"push"}
    few = replace(
        recorded(),
        rounds=[
            Round(survey(), 0.05, {PULL: run_at(PULL, 0, 4, 0.0), PUSH: run_at(PUSH, 19, 0, 0.0)})
        ],
    )
    assert set(compare(few, COSTS)[1].judged()) == set()


def test_the_recommended_threshold_is_the_measured_one_of_least_predicted_cost():
    assert recommended(recorded(), COSTS) == PUSH  # no cell posts, so a push costs nothing
    assert with_reads(survey(), 700.0).reads == 700.0


def test_rows_hold_every_judged_error_without_its_sign_the_largest_first():
    result = verdicts.result(
        [recorded(), recorded("G4"), recorded(mix="W2")], dict.fromkeys(("G2", "G4"), COSTS)
    )
    assert result["rows"]["G2 pull"] == pytest.approx([1, 1, 0, 0])
    assert result["rows"]["G2 push"] == pytest.approx([0, 0, 0, 0])
    assert result["rows"]["G4 recommended"] == pytest.approx([1.0], abs=0.02)
    signed = {
        (cell["promote_at"], cell["figure"]): (cell["error"], cell["judged"])
        for cell in result["cells"]
        if cell["graph"] == "G4"
    }
    assert signed[4, "pull"] == (pytest.approx(1), True)
    assert signed[PUSH, "pull"] == (None, False)
    assert len(signed) == 9


def test_the_table_goes_into_its_document(tmp_path):
    result = results.complete(
        "accuracy", "Accuracy", accuracy.judge([recorded(), recorded("G4")]), Options(3)
    )
    assert set(result["rows"]) <= set(BY_NAME)
    document = tmp_path / "evidence/threshold.md"
    document.parent.mkdir()
    document.write_text(
        "a\n<!-- accuracy: written by make bench -->\nstale\n<!-- end of accuracy -->\nb\n"
    )
    summary.write_tables([result], tmp_path)
    written = document.read_text()
    assert "| G2 W1 | 4 | 0.02 | " in written
    assert written.count("(recommended)") == 2
    assert "stale" not in written
    charts.draw(result, tmp_path / "accuracy.svg")


def test_a_recording_is_the_same_after_it_was_written_and_read(tmp_path):
    by_rates = run_at(PUSH, 10, 3, 0.01)
    written = [recorded("G1", mix, by_rates=by_rates) for mix in MIXES]
    for each in written:
        recording.write(each, tmp_path)
    assert recording.read_all(tmp_path) == written
    judged = CliRunner().invoke(
        accuracy.main,
        ["--recorded", str(tmp_path), "--json", str(tmp_path / "result.txt")],
        catch_exceptions=False,
    )
    assert judged.exit_code == 0
    rows = json.loads((tmp_path / "result.txt").read_text())["rows"]
    assert set(rows) == {"G1 push", "G1 pull", "G1 lists", "G1 recommended"}
    assert len(rows["G1 recommended"]) == 3


def test_costs_are_learnt_on_the_other_graphs_only():
    slow = run_at(PULL, 0, 4, 0.036)
    slow = replace(slow, figures={"read:0:pieces": 10_000, "read:0:us": 10_000_000})
    learnt_on = replace(
        recorded("learning"), rounds=[Round(survey(), 0.0, {PULL: slow, PUSH: slow})]
    )
    costs = accuracy.judge([recorded("G1"), learnt_on])["costs"]
    assert costs.keys() == {"G1"}
    assert costs["G1"]["read_us"] == pytest.approx(1_000, rel=0.2)


def test_the_rule_by_rates_stands_beside_the_best_threshold():
    by_rates = run_at(PUSH, 10, 3, 0.0)
    [row] = accuracy.judge([recorded(by_rates=by_rates)])["by rates"]
    assert (row["graph"], row["mix"], row["promote_at"]) == ("G2", "W1", 4)
    assert row["by rates"] == {
        "total": pytest.approx(1.71),
        "lists p99": 3,
        "redis bytes": 1_000,
        "pulled": 3,
    }
    assert row["saves"] == pytest.approx(1 - 1.71 / 1.729)


def test_a_run_at_another_pace_has_other_seconds_and_equal_lists():
    run = run_at(4, 20, 2, 0.009).at_pace(2.0)
    assert run.seconds["blind"] == 2.0
    assert run.behind == pytest.approx(0.232)
    assert run.by_lists == {2: (90, pytest.approx(2.018), 2.0)}
    assert run.lists_per_read == 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--graph", "edges.txt"], "'edges.txt' is not NAME=FILE"),
        (["--graph", "mine=missing.txt"], "missing.txt is not a file"),
        (["--graph", "a=edges.txt", "--graph", "a=edges.txt"], "Two graphs have one name: a, a."),
        (["--graph", "a/b=edges.txt"], "'a/b' cannot be a name"),
        (["--graph", "learning=edges.txt"], "'learning' cannot be a name"),
        (["--generated", "1000"], "--generated and --name need each other."),
        (["--name", "mine"], "--generated and --name need each other."),
        (["--generated", "1000", "--name", "a", "--mix", "W9"], "'W9' is not one of"),
        (["--generated", "9", "--name", "a"], "9 is not in the range"),
        (["--graph", "a=edges.txt", "--lowest", "1"], "1 is not in the range"),
        (["--graph", "a=edges.txt", "--json", "absent/out.json"], "absent is not a folder"),
        (["--recorded", "."], ". has no recordings; --record writes them."),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_measured(
    arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edges.txt").write_text("1 2\n")
    answer = CliRunner().invoke(accuracy.main, arguments)
    assert answer.exit_code == 2
    assert message in " ".join(answer.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("text", "message"),
    [("1 2\n3\n", "line 2: 1 columns instead of 2"), ("# nothing\n", "has no follows")],
)
def test_a_file_without_a_graph_is_an_error(text, message, tmp_path):
    (tmp_path / "edges.txt").write_text(text)
    answer = CliRunner().invoke(accuracy.main, ["--graph", f"mine={tmp_path / 'edges.txt'}"])
    assert answer.exit_code == 1
    assert message in answer.output


def test_thresholds_have_equal_ratios_between_the_lowest_and_half_the_largest():
    assert Plan(rounds=1, thresholds=3, lowest=10).thresholds_for(2_000) == [
        PULL,
        10,
        100,
        1_000,
        PUSH,
    ]
    assert Plan(rounds=1, thresholds=1, lowest=10).thresholds_for(4) == [PULL, 10, PUSH]
    assert Plan(rounds=1, thresholds=3, lowest=10).thresholds_for(4) == [PULL, 2, 4, 10, PUSH]


def test_a_mix_draws_its_operations_by_weight_among_its_accounts():
    sizes = {account: account % 50 for account in range(1, 1_001)}
    for mix in MIXES.values():
        source = random.Random(1)
        population = mix.population(sizes, source)
        drawn = mix.draw(population, 20_000, source)
        counted = Counter(each.kind for each in drawn)
        whole = sum(mix.kinds.values())
        assert counted.keys() == mix.kinds.keys()
        for kind, weight in mix.kinds.items():
            assert counted[kind] / len(drawn) == pytest.approx(weight / whole, abs=0.015)
        readers = {each.account for each in drawn if each.kind == "read"}
        assert readers <= set(population.active)
        new = [each.account for each in drawn if each.kind == "new account"]
        assert len({*new} - sizes.keys()) == len(new)
    assert len(W1.population(sizes, random.Random(1)).active) == 700
    assert len(W3.population(sizes, random.Random(1)).active) == 1_000


def test_posters_are_drawn_evenly_in_w2_and_by_followers_in_the_other_mixes():
    sizes = {1: 0, 2: 5, 3: 20}
    source = random.Random(1)
    for mix, silent in ((W1, {1}), (W2, set()), (W3, {1})):
        drawn = mix.draw(mix.population(sizes, source), 20_000, source)
        posters = {each.account for each in drawn if each.kind == "post"}
        assert posters == sizes.keys() - silent


def test_a_graph_is_measured_under_every_threshold_and_by_rates(tmp_path):
    source = random.Random(1)
    edges = {(source.randint(1, 60), round(60 * source.random() ** 2) + 1) for _ in range(600)}
    file = tmp_path / "edges.txt"
    file.write_text("".join(f"{one} {other}\n" for one, other in edges if one != other))
    plan = Plan(rounds=1, thresholds=1, lowest=20, operations=200, by_rates=True)

    graph = graphs.from_file("small", file, 2.0)
    measured = rounds.measure(graph, rounds.load(graph, tmp_path), W3, plan)
    assert measured.name == "small W3"
    assert {PULL, 20, PUSH} <= set(measured.thresholds)
    [only] = measured.rounds
    posts = only.runs[PULL].operations["post"]
    for run in (*only.runs.values(), only.by_rates):
        assert run.operations["post"] == posts
        assert run.operations["read"] == run.operations["blind"]
        assert run.operations["new account"] > 0
        assert run.seconds["read"] > 0
    assert only.runs[PULL].pushed == []
    assert only.runs[PULL].lists_per_read > only.runs[PUSH].lists_per_read == 0
    assert len(only.runs[PUSH].pushed) == posts
    assert only.runs[PUSH].pulled == 0
    # The survey counts the accounts and the follows that were there before.
    assert only.survey.accounts == len({account for edge in edges for account in edge})
    recording.write(measured, tmp_path)
    assert recording.read_all(tmp_path) == [measured]
