"""The summary: a table of every criterion with its figures, printed and written into documents."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import charts, results
from benchmarks.criteria import CRITERIA, Criterion
from feedsvc.formats import amount

if TYPE_CHECKING:
    from pathlib import Path

BEGIN, END = "<!-- summary: written by make bench -->", "<!-- end of summary -->"
_HEAD = ["| | figure | must | aim | median | range | |", "|---|---|---|---|---|---|---|"]


def keep(measured: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Store results with their charts, and update the summary; return all results of the folder."""
    for result in measured:
        results.store(result, folder)
        charts.draw(result, folder / f"{result['name']}.svg")
    return update(folder)


def update(folder: Path) -> list[dict[str, Any]]:
    """Draw the common charts and write the tables of all stored results; return the results."""
    stored = results.stored(folder)
    charts.draw_all(stored, folder / "summary.svg")
    for result in stored:
        if result["name"] == "fanout":
            charts.draw_rates(result, folder / "deliveries.svg")
    if (folder / "README.md").exists():
        write(stored, folder / "README.md")
        write_tables(stored, folder.parent)
    return stored


def table(measured: list[dict[str, Any]]) -> list[str]:
    """Return the table in Markdown; a criterion without a figure is "not measured"."""
    values = results.values(measured)
    return [*_HEAD, *(_row(criterion, values.get(criterion.name)) for criterion in CRITERIA)]


def write(measured: list[dict[str, Any]], path: Path) -> None:
    """Write the table and the origin of each result between the markers of a document."""
    origins = [line for result in measured for line in _origin(result)]
    _replace(path, BEGIN, END, [*table(measured), "", *origins])


def write_tables(measured: list[dict[str, Any]], folder: Path) -> None:
    """Write each result's own table between the markers of the document that the result names."""
    for result in measured:
        if "table" in result:
            _replace(
                folder / result["document"],
                f"<!-- {result['name']}: written by make bench -->",
                f"<!-- end of {result['name']} -->",
                result["table"],
            )


def _replace(path: Path, begin: str, end: str, lines: list[str]) -> None:
    head, _, rest = path.read_text().partition(begin)
    _, _, tail = rest.partition(end)
    assert rest, f"{path} has no line {begin!r}; add it and the line {end!r}"
    path.write_text("\n".join([head + begin, "", *lines, "", end + tail]))


def _origin(result: dict[str, Any]) -> list[str]:
    """Return the origin of a result, with links to its figures and its chart."""
    name = result["name"]
    settings = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
    origin = (
        f"{result['date'][:10]}, commit {result['commit']}, {result['rounds']} rounds. "
        f"{results.machine(result)}. {settings}."
    )
    links = f"([figures]({name}.json), [chart]({name}.svg))"
    return [
        f"- **{result['title']}** {links}: {origin}",
        *(f"  - {note}" for note in result.get("notes", [])),
    ]


def _row(criterion: Criterion, values: list[float] | None) -> str:
    bounds = [_bound(criterion, criterion.must), _bound(criterion, criterion.aim)]
    if criterion.most is not None:
        bounds[0] += f", each ≤ {criterion.most:g}"
    cells = [criterion.name, criterion.meaning, *bounds]
    if values is None:
        return f"| {' | '.join([*cells, '', '', 'not measured'])} |"
    middle, verdict = median(values), criterion.verdict(values)
    shown = f"**{verdict}**" if verdict == "missed" else verdict
    spread = f"{amount(min(values))} to {amount(max(values))}"
    return f"| {' | '.join([*cells, amount(middle), spread, shown])} |"


def _bound(criterion: Criterion, value: float) -> str:
    return f"{'≥' if criterion.more else '≤'} {value:g} {criterion.unit}".rstrip()
