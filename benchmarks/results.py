"""The interface of a measurement: its options, its result, and how a result is stored and printed.

A measurement is a function of `Options` that returns a dict:

- `rows`: criterion name -> its value in each round
- `series`: name of a measured figure -> its value in each round
- `settings`: name -> value, for readers of the result
- optional: `graph`, `server`, `processor` (unit -> part -> value), `curves`, `notes`, and `table`
  with `document`

`complete` adds machine, commit and date. `store` writes the result as JSON.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from benchmarks.criteria import BY_NAME
from feedsvc.formats import amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"


@dataclass(frozen=True)
class Options:
    """The number of rounds, and the scale: 1 for the criteria's sizes, less for a smoke run."""

    rounds: int
    scale: float = 1.0

    def scaled(self, size: int, least: int = 1) -> int:
        """Return a size multiplied by the scale, at least `least`."""
        return max(least, round(size * self.scale))

    def each_round(self, title: str) -> Iterable[int]:
        """Count the rounds from 0, with a progress bar."""
        return tqdm(range(self.rounds), desc=title, unit=" rounds", leave=False, disable=None)


def complete(name: str, title: str, measured: dict[str, Any], options: Options) -> dict[str, Any]:
    """Return a measurement's dict with its family, date, commit, machine and options."""
    return {
        "name": name,
        "title": title,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
        },
        "rounds": options.rounds,
        "scale": options.scale,
        **measured,
    }


def store(result: dict[str, Any], folder: Path) -> None:
    """Write a result as `<name>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result['name']}.json").write_text(as_json(result))


def as_json(result: Any) -> str:
    """Return a result, or several, as the text of a JSON file."""
    return json.dumps(result, indent=2, ensure_ascii=False) + "\n"


def stored(folder: Path) -> list[dict[str, Any]]:
    """Return every result of a folder."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def values(measured: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return the values of each measured criterion, by round."""
    return {name: rounds for result in measured for name, rounds in result["rows"].items()}


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Print a result: settings, every series, processor time, and the verdict on each criterion."""
    yield (
        f"{result['title']}; commit {result['commit']}, {result['rounds']} rounds, "
        f"scale {result['scale']:g}"
    )
    yield f"  {machine(result)}"
    yield "  " + ", ".join(f"{name} {value}" for name, value in result["settings"].items())
    for name, rounds in result["series"].items():
        yield f"  {name:<46}{_spread(rounds)}"
    for unit, parts in result.get("processor", {}).items():
        shown = ", ".join(f"{part} {amount(value)}" for part, value in parts.items())
        yield f"  processor, {unit}: {shown}"
    for name, rounds in result["rows"].items():
        yield f"  {name + ' ' + BY_NAME[name].meaning:<46}{_spread(rounds)}"
        yield f"    {BY_NAME[name].judgement(rounds)}"


def machine(result: dict[str, Any]) -> str:
    """Describe the machine and the server of a result."""
    about = result["machine"]
    parts = [
        f"{about['cores']} cores ({about['processor']})",
        f"Python {about['python']}",
        result.get("server", ""),
    ]
    return ", ".join(filter(None, parts))


def _spread(rounds: list[float]) -> str:
    return f"{amount(median(rounds)):>10}   ({amount(min(rounds))} to {amount(max(rounds))})"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    cpuinfo = path.read_text().splitlines() if path.exists() else []
    models = (line.partition(": ")[2] for line in cpuinfo if line.startswith("model name"))
    return next(models, platform.processor() or "unknown")


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"
