"""Results: what a measurement returns, completed with machine, commit and date, and kept as JSON beside the documentation.

A measurement is a function of `Options` that returns a dict: `rows` (a criterion's name -> its value in each round), `series` (what
was measured -> its value in each round), `settings`, and, where they apply, `graph`, `server`, `processor` (unit -> part -> value)
and `notes`.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.criteria import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.options import Options

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"


def complete(name: str, title: str, found: dict[str, Any], options: Options) -> dict[str, Any]:
    """The result as it is kept."""
    return {
        "name": name,
        "title": title,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": _machine(),
        "rounds": options.rounds,
        "scale": options.scale,
        **found,
    }


def keep(result: dict[str, Any], folder: Path) -> None:
    """Write it as `<name>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result['name']}.json").write_text(
        json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    )


def kept(folder: Path) -> list[dict[str, Any]]:
    """Every result in the folder."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def values(found: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The values of each criterion that was measured, by round."""
    return {name: each for result in found for name, each in result["rows"].items()}


def lines(result: dict[str, Any]) -> Iterator[str]:
    """A result for people."""
    yield f"{result['title']}; commit {result['commit']}, {result['rounds']} rounds, scale {result['scale']:g}"
    yield f"  {machine(result)}"
    yield "  " + ", ".join(f"{name} {value}" for name, value in result["settings"].items())
    for name, each in result["series"].items():
        yield f"  {name:<46}{spread(each)}"
    for unit, parts in result.get("processor", {}).items():
        yield f"  processor, {unit}: " + ", ".join(
            f"{part} {number(value)}" for part, value in parts.items()
        )
    for name, each in result["rows"].items():
        yield f"  {name + ' ' + BY_NAME[name].what:<46}{spread(each)}"
        yield f"    {judged(name, median(each))}"


def judged(name: str, value: float) -> str:
    """What the criterion says of a value, in words."""
    criterion = BY_NAME[name]
    return f"{criterion.verdict(value)}; must {criterion.must:g}, aim {criterion.aim:g} {criterion.unit}".rstrip()


def machine(result: dict[str, Any]) -> str:
    """The machine and the server, in words."""
    about = result["machine"]
    words = [
        f"{about['cores']} cores ({about['processor']})",
        f"Python {about['python']}",
        result.get("server", ""),
    ]
    return ", ".join(filter(None, words))


def spread(each: list[float]) -> str:
    """Median, and the range."""
    return f"{number(median(each)):>10}   ({number(min(each))} to {number(max(each))})"


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    models = (
        [
            line.partition(": ")[2]
            for line in path.read_text().splitlines()
            if line.startswith("model name")
        ]
        if path.exists()
        else []
    )
    return models[0] if models else platform.processor() or "unknown"


def _commit() -> str:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"
