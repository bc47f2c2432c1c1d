"""The summary: every criterion with what was measured, as a table, printed and written into the documentation."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import results
from benchmarks.criteria import CRITERIA, Criterion

if TYPE_CHECKING:
    from pathlib import Path

BEGIN, END = "<!-- summary: written by make bench -->", "<!-- end of summary -->"
_HEAD = ["| | what | must | aim | median | range | |", "|---|---|---|---|---|---|---|"]


def table(found: list[dict[str, Any]]) -> list[str]:
    """The table, in Markdown; what was not measured says so."""
    values = results.values(found)
    return [*_HEAD, *(_row(criterion, values.get(criterion.name)) for criterion in CRITERIA)]


def write(found: list[dict[str, Any]], path: Path) -> None:
    """Put the table, and where each result comes from, between the marks of this document."""
    _between(
        path, BEGIN, END, [*table(found), "", *(line for each in found for line in _origin(each))]
    )


def write_tables(found: list[dict[str, Any]], folder: Path) -> None:
    """Put the tables that results have themselves between the marks of the documents that they name."""
    for each in found:
        if "table" in each:
            _between(
                folder / each["document"],
                f"<!-- {each['name']}: written by make bench -->",
                f"<!-- end of {each['name']} -->",
                each["table"],
            )


def _between(path: Path, begin: str, end: str, lines: list[str]) -> None:
    head, _, rest = path.read_text().partition(begin)
    _, _, tail = rest.partition(end)
    assert rest, f"{path} has no line {begin}"
    path.write_text("\n".join([head + begin, "", *lines, "", end + tail]))


def _origin(result: dict[str, Any]) -> list[str]:
    """Where a result comes from, with links to its figures and its chart."""
    name, settings = (
        result["name"],
        ", ".join(f"{key} {value}" for key, value in result["settings"].items()),
    )
    origin = f"{result['date'][:10]}, commit {result['commit']}, {result['rounds']} rounds. {results.machine(result)}. {settings}."
    links = f"([figures]({name}.json), [chart]({name}.svg))"
    return [
        f"- **{result['title']}** {links}: {origin}",
        *(f"  - {note}" for note in result.get("notes", [])),
    ]


def _row(criterion: Criterion, values: list[float] | None) -> str:
    bounds = [_bound(criterion, criterion.must), _bound(criterion, criterion.aim)]
    cells = [criterion.name, criterion.what, *bounds]
    if values is None:
        return f"| {' | '.join([*cells, '', '', 'not measured'])} |"
    middle = median(values)
    verdict = criterion.verdict(middle)
    shown = f"**{verdict}**" if verdict == "missed" else verdict
    spread = f"{results.number(min(values))} to {results.number(max(values))}"
    return f"| {' | '.join([*cells, results.number(middle), spread, shown])} |"


def _bound(criterion: Criterion, value: float) -> str:
    return f"{'≥' if criterion.more else '≤'} {value:g} {criterion.unit}".rstrip()
