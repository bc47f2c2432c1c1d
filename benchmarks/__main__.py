"""`python -m benchmarks FAMILY …`: measure, print, and store the results.

At scale 1 the results, a chart of each and the summary go to `docs/benchmarks`.
`python -m benchmarks beside OTHER` compares two checkouts instead (`benchmarks.beside`).
`python -m benchmarks accuracy …` has options of its own (`benchmarks.accuracy`).
"""

from __future__ import annotations

import importlib
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import structlog
from tqdm import tqdm

from benchmarks import accuracy, beside, results, summary
from benchmarks.results import Options


@dataclass(frozen=True)
class Family:
    """A module with `measure(options)`: its title, and its default number of rounds."""

    title: str
    rounds: int = 5


FAMILIES = {
    "reads": Family("First pages, over HTTP", 7),
    "deep_reads": Family("Pages far down, and rebuilds of cold feeds", 7),
    "fanout": Family("Fan-out to 100,000 full feeds"),
    "million": Family("An account with 1.5 million followers"),
    "memory": Family("Memory of 10,000 full feeds", rounds=1),
    "mix": Family("The mix W1 at seven thresholds", rounds=1),
    "small": Family("Posts of accounts with 20 followers"),
    "scale": Family("From 10,000 to a million accounts"),
    "cluster": Family("Three nodes compared with one"),
    accuracy.NAME: Family(accuracy.TITLE),
    "near_cache": Family("Reads with a near cache that is too small", 3),
    "replay": Family("A replay of ten million events", rounds=1),
}


@click.command(
    epilog="`python -m benchmarks beside OTHER` compares two checkouts in one run. "
    "`python -m benchmarks accuracy --help` lists the options of that family alone."
)
@click.argument("names", nargs=-1, type=click.Choice([*FAMILIES, "all", "summary"]), required=True)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    help="Interleaved rounds; the default depends on the family.",
)
@click.option(
    "--scale",
    default=1.0,
    show_default=True,
    help="Below 1: smaller sizes, for a smoke run, whose results are not stored.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the results. Default: docs/benchmarks at scale 1, none below.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    names: tuple[str, ...], rounds: int | None, scale: float, out: Path | None, as_json: bool
) -> None:
    """Measure families, print their figures, and store them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = out or (results.FOLDER if scale == 1 else None)
    chosen = list(FAMILIES) if "all" in names else [name for name in names if name != "summary"]
    measured = []
    for name in tqdm(chosen, desc="all", leave=False, disable=None if chosen[1:] else True):
        measured.append(_measure(name, rounds, scale))
        if folder is not None:
            summary.keep(measured[-1:], folder)
    summarised = measured if folder is None else summary.update(folder)
    if as_json:
        click.echo(results.as_json(measured), nl=False)
        return
    for result in measured:
        click.echo("\n".join(results.lines(result)))
    click.echo("\n".join(["", *summary.table(summarised)]))


def _measure(name: str, rounds: int | None, scale: float) -> dict[str, Any]:
    family = FAMILIES[name]
    options = Options(rounds or family.rounds, scale)
    measured = importlib.import_module(f"benchmarks.{name}").measure(options)
    return results.complete(name, family.title, measured, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["beside"]:
        beside.main(sys.argv[2:])
    if sys.argv[1:2] == [accuracy.NAME]:
        accuracy.main(sys.argv[2:])
    main()
