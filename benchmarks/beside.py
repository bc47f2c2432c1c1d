"""Compare two checkouts of this repository in one run: `python -m benchmarks beside OTHER`.

Each round measures each family once in each checkout, in a process of its own and on freshly filled
stores. The order of the checkouts alternates from round to round, so that a change of the machine's
speed affects both alike.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from feedsvc.formats import amount

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parents[1]
# Further arguments of each family's `measure`. The peers of `fanout` take long, need an environment
# of their own and say nothing about this repository.
FAMILIES: dict[str, dict[str, Any]] = {
    "reads": {},
    "fanout": {"with_peers": False},
    "small": {},
    "million": {},
}
# The program for either checkout, also for one of an older commit. `Options` has moved to another
# module, but `__main__` has always imported it. Logs may come before the JSON, which is the last
# line.
_PROGRAM = """
import importlib, json, sys
from benchmarks.__main__ import Options
family, scale, arguments = sys.argv[1:]
module = importlib.import_module("benchmarks." + family)
print(json.dumps(module.measure(Options(1, float(scale)), **json.loads(arguments))))
"""


@click.command(name="benchmarks beside")
@click.argument(
    "other", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
)
@click.argument("families", nargs=-1, type=click.Choice(list(FAMILIES)))
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1))
@click.option("--scale", default=1.0, show_default=True, help="Below 1: smaller sizes.")
def main(other: Path, families: tuple[str, ...], rounds: int, scale: float) -> None:
    """Measure this checkout and the checkout OTHER in turn; print medians and their ratio."""
    for family in families or FAMILIES:
        own: dict[str, list[float]] = defaultdict(list)
        others: dict[str, list[float]] = defaultdict(list)
        turns = [(HERE, own), (other, others)]
        for _ in tqdm(range(rounds), desc=family, unit=" rounds", disable=None):
            for checkout, figures in turns:
                for name, value in measure_once(checkout, family, scale).items():
                    figures[name].append(value)
            turns.reverse()
        click.echo("\n".join(table(family, own, others)))


def measure_once(checkout: Path, family: str, scale: float) -> dict[str, float]:
    """Measure one round of a family in a checkout; return its criteria and its series by name."""
    python = checkout / ".venv" / "bin" / "python"
    interpreter = str(python) if checkout != HERE and python.exists() else sys.executable
    arguments = [family, str(scale), json.dumps(FAMILIES[family])]
    output = subprocess.run(
        [interpreter, "-c", _PROGRAM, *arguments],
        cwd=checkout,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    result = json.loads(output.splitlines()[-1])
    return {name: rounds[0] for name, rounds in (result["rows"] | result["series"]).items()}


def table(
    family: str, own: dict[str, list[float]], others: dict[str, list[float]]
) -> Iterator[str]:
    """Compare the figures that both checkouts have.

    The ratio is the median of the rounds' ratios, with their range.
    """
    yield f"\n{family:<46}{'this':>12}{'other':>12}   this ÷ other, by round"
    for name, rounds in own.items():
        if name in others:
            ratios = [_ratio(*pair) for pair in zip(rounds, others[name], strict=True)]
            yield (
                f"{name:<46}{amount(median(rounds)):>12}{amount(median(others[name])):>12}"
                f"   {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
            )


def _ratio(own: float, other: float) -> float:
    if other:
        return own / other
    return math.inf if own else 1.0
