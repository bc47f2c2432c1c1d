"""`python -m benchmarks FAMILY`: a measurement, or all; printed, and kept with a chart and the summary in `docs/benchmarks`."""

from __future__ import annotations

import importlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import structlog
from tqdm import tqdm

from benchmarks import charts, results, summary
from benchmarks.options import Options


@dataclass(frozen=True)
class Family:
    """A module with `measure(options)`, what it is about, and how many rounds it takes by default."""

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
    "cluster": Family("Three nodes beside one"),
    "accuracy": Family("The cost model beside what was measured"),
    "replay": Family("A replay of ten million events", rounds=1),
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*FAMILIES, "all", "summary"]), required=True)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    help="Interleaved rounds; each measurement has a number of its own.",
)
@click.option(
    "--scale",
    default=1.0,
    show_default=True,
    help="Below 1: smaller, for a smoke run, which is not kept.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where results are kept. Default: docs/benchmarks at scale 1, nowhere below.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    names: tuple[str, ...], rounds: int | None, scale: float, out: Path | None, as_json: bool
) -> None:
    """Measure, print, and keep what was found."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = out or (results.FOLDER if scale == 1 else None)
    chosen = list(FAMILIES) if "all" in names else [name for name in names if name != "summary"]
    found = [
        _measure(name, rounds, scale, folder)
        for name in tqdm(chosen, desc="all", leave=False, disable=None if chosen[1:] else True)
    ]
    everything = found if folder is None else _summarise(folder)
    click.echo(
        json.dumps(found, indent=2, ensure_ascii=False) if as_json else _text(found, everything)
    )


def _measure(name: str, rounds: int | None, scale: float, folder: Path | None) -> dict[str, Any]:
    family = FAMILIES[name]
    options = Options(rounds or family.rounds, scale)
    measured = importlib.import_module(f"benchmarks.{name}").measure(options)
    result = results.complete(name, family.title, measured, options)
    if folder is not None:
        results.keep(result, folder)
        charts.draw(result, folder / f"{name}.svg")
    return result


def _summarise(folder: Path) -> list[dict[str, Any]]:
    found = results.kept(folder)
    charts.draw_all(found, folder / "summary.svg")
    for result in found:
        if result["name"] == "fanout":
            charts.draw_rates(result, folder / "deliveries.svg")
    if (folder / "README.md").exists():
        summary.write(found, folder / "README.md")
        summary.write_tables(found, folder.parent)
    return found


def _text(found: list[dict[str, Any]], everything: list[dict[str, Any]]) -> str:
    """What was measured now, and the table of all that is kept."""
    return "\n".join(
        [
            *(line for result in found for line in results.lines(result)),
            "",
            *summary.table(everything),
        ]
    )


if __name__ == "__main__":
    main()
