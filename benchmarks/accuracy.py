"""The accuracy of the cost model: mixes at a sweep of thresholds, measured and predicted.

`python -m benchmarks accuracy` measures the project's graphs, or any other graph, and says how far
off the predictions were. `rounds` measures, `compared` predicts the same rounds, and `verdicts`
makes the result of both.
"""

from __future__ import annotations

import logging
import re
from dataclasses import fields, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import structlog

from benchmarks import by_rates, graphs, recording, results, rounds, summary, verdicts
from benchmarks.mixes import MIXES, W1
from benchmarks.results import Options
from benchmarks.rounds import Plan
from benchmarks.service import WORKERS
from feedsvc.errors import FeedsvcError
from feedsvc.formats import amount
from feedsvc.planning import learning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.graphs import Graph
    from benchmarks.mixes import Mix
    from benchmarks.recording import Recording

NAME, TITLE = "accuracy", "The cost model compared with measurements"
_ROUNDS = 5
_LEAST_OPERATIONS = 200
# A name is a part of file names.
_NAME = re.compile(r"\w[\w.-]*")
_THRESHOLDS_TO_LEARN = 2
_EPILOG = """
The JSON has "rows". "NAME push", "NAME pull" and "NAME lists" hold an error for each threshold
(and mix) that is judged, the largest first. An error is |predicted ÷ measured - 1|, so 0.1 is 10 %
off, in either direction. Predicted ÷ measured is the median of the rounds' ratios. Push and pull
are judged where they are at least a tenth of both together, push from 20 pushed posts a run on, and
lists from 0.1 per read on. "NAME recommended" holds, for each mix, the measured cost of the
recommended threshold ÷ that of the cheapest measured one. "cells" has every figure with its sign,
judged or not.
"""


def measure(options: Options) -> dict[str, Any]:
    """Measure and predict all of the project's graphs under all mixes.

    Below a scale of 1, graphs whose files are missing are left out.
    """
    plan = Plan(options.rounds, scale=options.scale)
    return judge(list(_record(_built_in(options.scale), list(MIXES.values()), plan, None)))


def judge(recordings: Sequence[Recording]) -> dict[str, Any]:
    """Predict recorded rounds; return a result without date and machine.

    The costs that predict a graph are learnt from what the service counted on the other graphs. All
    rounds are brought to one pace of the machine before.
    """
    pace = median(run.pace for each in recordings for run in each.runs())
    judged = [each.at_pace(pace) for each in recordings if each.graph != graphs.LEARNING]
    costs = {
        graph: learning.fit(
            *(run.work(pace) for each in recordings if each.graph != graph for run in each.runs())
        ).costs
        for graph in dict.fromkeys(each.graph for each in judged)
    }
    operations = [f"{each.settings['operations']:,} ({each.mix})" for each in judged]
    return verdicts.result(judged, costs) | {
        "graph": "; ".join(dict.fromkeys(each.settings["graph"] for each in judged)),
        "by rates": by_rates.compared(judged),
        "costs": {graph: vars(each) for graph, each in costs.items()},
        "settings": {
            "operations a run": " ".join(dict.fromkeys(operations)),
            "cap": judged[0].settings["cap"],
            "workers": WORKERS,
            "database": "sqlite",
        },
    }


class _GraphFile(click.ParamType):
    """`NAME=FILE`, as the name and the path of a file that exists."""

    name = "NAME=FILE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Path]:
        name, equals, file = str(value).partition("=")
        path = Path(file)
        if not (name.strip() and equals and file):
            self.fail(f"{value!r} is not NAME=FILE, for example mine=edges.txt.gz", param, ctx)
        if not path.is_file():
            self.fail(f"{path} is not a file", param, ctx)
        return name, path


@click.command(name=f"benchmarks {NAME}", epilog=_EPILOG)
@click.option(
    "--graph",
    "files",
    type=_GraphFile(),
    multiple=True,
    help="A graph by name: a text file or .gz with lines `follower followee`. Repeatable.",
)
@click.option(
    "--generated",
    type=click.IntRange(100),
    metavar="ACCOUNTS",
    help="A generated graph with this many accounts. Needs --name.",
)
@click.option(
    "--posts-per-account",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Posts before the run, on average, for --graph and --generated.",
)
@click.option("--name", help="The name of the generated graph.")
@click.option(
    "--mix",
    "mixes",
    type=click.Choice(list(MIXES)),
    multiple=True,
    help="The mix of operations. Repeatable. Default: W1, or all for the project's own graphs.",
)
@click.option(
    "--thresholds",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="The number of thresholds, besides pure pull, pure push and the recommended one.",
)
@click.option(
    "--lowest",
    type=click.IntRange(2),
    default=10,
    show_default=True,
    help="The lowest threshold besides pure pull.",
)
@click.option(
    "--operations",
    type=click.IntRange(_LEAST_OPERATIONS),
    help="Operations of each run. Default: "
    + ", ".join(f"{mix.operations:,} ({mix.name})" for mix in MIXES.values())
    + ".",
)
@click.option("--rounds", type=click.IntRange(1), default=_ROUNDS, show_default=True)
@click.option(
    "--scale",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Below 1: smaller generated graphs and fewer operations, for a smoke run.",
)
@click.option("--by-rates", is_flag=True, help="Also measure the rule by rates, author by author.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--record",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the measured rounds in this folder.",
)
@click.option(
    "--recorded",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Measure nothing: judge the rounds that --record kept in this folder.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the result and its chart, for example docs/benchmarks.",
)
def main(
    files: Sequence[tuple[str, Path]],
    mixes: Sequence[str],
    json_file: Path | None,
    record: Path | None,
    recorded: Path | None,
    out: Path | None,
    **chosen: Any,
) -> None:
    """Measure mixes of operations at several thresholds, and compare them with the cost model.

    Without --graph and --generated it measures the project's graphs G1, G2, G4 and G5, which takes
    hours. At --scale 1 it then stores the result in docs/benchmarks.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if json_file is not None and not json_file.parent.is_dir():
        raise click.UsageError(f"{json_file.parent} is not a folder; create it first.")
    plan = Plan(*(chosen[each.name] for each in fields(Plan)))
    graphs_of_user = _graphs_of_user(files, chosen)
    if recorded is not None:
        recordings = _read(recorded)
    elif graphs_of_user:
        chosen_mixes = [MIXES[each] for each in mixes or [W1.name]]
        recordings = list(_record_own(graphs_of_user, chosen_mixes, plan, record))
    else:
        chosen_mixes = [MIXES[each] for each in mixes or MIXES]
        recordings = list(_record(_built_in(plan.scale), chosen_mixes, plan, record))
        out = out or (results.FOLDER if plan.scale == 1 and not mixes else None)
    result = results.complete(NAME, TITLE, judge(recordings), Options(plan.rounds, plan.scale))
    if json_file is not None:
        json_file.write_text(results.as_json(result))
    if out is not None:
        summary.keep([result], out)
    click.echo("\n".join(result["table"]))
    if result["by rates"]:
        click.echo("\n".join(by_rates.table(result["by rates"])))
    for name, values in result["rows"].items():
        click.echo(f"{name:<20}{', '.join(amount(value) for value in values)}")


def _graphs_of_user(files: Sequence[tuple[str, Path]], chosen: Mapping[str, Any]) -> list[Graph]:
    name, accounts, posts = chosen["name"], chosen["generated"], chosen["posts_per_account"]
    if (accounts is None) != (name is None):
        raise click.UsageError("--generated and --name need each other.")
    found = [graphs.from_file(*each, posts) for each in files]
    if accounts is not None:
        found.append(graphs.generated(name, accounts, posts))
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise click.UsageError(f"Two graphs have one name: {', '.join(sorted(names))}.")
    for each in names:
        if each == graphs.LEARNING or not _NAME.fullmatch(each):
            raise click.UsageError(
                f"{each!r} cannot be a name; use letters, digits, '-', '_' and '.', "
                f"and not {graphs.LEARNING!r}."
            )
    return found


def _built_in(scale: float) -> list[Graph]:
    """Return the project's graphs. Below a scale of 1, leave out those whose files are missing."""
    found, missing = graphs.built_in(scale)
    if missing and scale == 1:
        raise click.UsageError("; ".join(missing))
    return found


def _read(folder: Path) -> list[Recording]:
    found = recording.read_all(folder)
    if not found:
        raise click.UsageError(f"{folder} has no recordings; --record writes them.")
    return found


def _record_own(
    chosen: Sequence[Graph], mixes: Sequence[Mix], plan: Plan, folder: Path | None
) -> Iterator[Recording]:
    """Measure a user's graphs. If there is only one, then measure a small graph to learn on."""
    yield from _record(chosen, mixes, plan, folder)
    if len(chosen) == 1:
        to_learn = replace(plan, rounds=1, thresholds=_THRESHOLDS_TO_LEARN, operations=None)
        yield from _record([graphs.to_learn_on(plan.scale)], mixes, to_learn, folder)


def _record(
    chosen: Sequence[Graph], mixes: Sequence[Mix], plan: Plan, folder: Path | None
) -> Iterator[Recording]:
    """Measure each graph under each mix, and keep the rounds in the folder, if there is one."""
    for graph in chosen:
        with TemporaryDirectory(prefix="fsb") as scratch:
            try:
                database = rounds.load(graph, Path(scratch))
            except FeedsvcError as error:
                raise click.ClickException(str(error)) from None
            for mix in mixes:
                measured = rounds.measure(graph, database, mix, plan)
                if folder is not None:
                    recording.write(measured, folder)
                yield measured
