"""The accuracy of the cost model as a result: criteria, series, curves, and a table. Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.compared import PULL, PUSH, compare
from feedsvc.formats import amount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.compared import GraphRounds, Line, Pair

# A part below this share of the threshold's costs is not judged, because the noise of the other
# costs is as large.
_JUDGED_SHARE = 0.1
_JUDGED_LISTS = 0.1
_CHART = (
    "[The same as a chart](../benchmarks/accuracy.svg), "
    "and [every round's figures](../benchmarks/accuracy.json)."
)
_TITLES = (
    "| | threshold | push, s | predicted | | pull, s | predicted | | lists/read | predicted | "
    "| total, s |"
)
_RULE = "|---" * 12 + "|"
_NOTE = (
    "Accuracy: processor seconds of one run. An error is the median of the rounds' ratios, less "
    "one; a criterion is the largest of its thresholds. Push and pull are judged where they are at "
    f"least {_JUDGED_SHARE:.0%} of both together, lists from {_JUDGED_LISTS} on."
)


def result(graphs: Mapping[str, GraphRounds]) -> dict[str, Any]:
    """Return a result without its settings; `graphs`: by name."""
    lines = {name: compare(graph) for name, graph in graphs.items()}
    rows: dict[str, list[float]] = {}
    series: dict[str, list[float]] = {}
    table: list[str] = []
    for name, graph in graphs.items():
        rows |= _rows(name, lines[name], graph.recommended)
        for line in lines[name]:
            series |= _series(name, line)
            table.append(_table_row(name, line, graph.recommended))
    return {
        "rows": rows,
        "series": series,
        "curves": [_curves(name, each) for name, each in lines.items()],
        "table": [_TITLES, _RULE, *table, "", _CHART],
        "document": "evidence/threshold.md",
        "server": next(iter(graphs.values())).server,
        "notes": [_NOTE],
    }


def _rows(name: str, lines: list[Line], recommended: int) -> dict[str, list[float]]:
    """Return the largest errors, and the cost of the recommended threshold ÷ that of the best."""
    judged = {
        "push": [line.push for line in lines if _counts(line.push, line)],
        "pull": [line.pull for line in lines if _counts(line.pull, line)],
        "lists": [line.lists for line in lines if median(line.lists.measured) >= _JUDGED_LISTS],
    }
    totals = {line.promote_at: median(line.total) for line in lines}
    rows = {
        f"{name} {figure}": [max(abs(pair.error) for pair in pairs)]
        for figure, pairs in judged.items()
        if pairs
    }
    return rows | {f"{name} recommended": [totals[recommended] / min(totals.values())]}


def _counts(part: Pair, line: Line) -> bool:
    both = median(line.push.measured) + median(line.pull.measured)
    return median(part.measured) >= _JUDGED_SHARE * both > 0


def _series(name: str, line: Line) -> dict[str, list[float]]:
    prefix, series = f"{name}, {_threshold(line.promote_at)}", {}
    for figure, pair in (("push", line.push), ("pull", line.pull), ("lists a read", line.lists)):
        series[f"{prefix}, {figure}"] = pair.measured
        series[f"{prefix}, {figure}, predicted"] = pair.predicted
    return series | {f"{prefix}, total": line.total}


def _curves(name: str, lines: list[Line]) -> dict[str, Any]:
    """Return the chart's curves; pure push is drawn at three times the highest threshold."""
    finite = [line.promote_at for line in lines if line.promote_at != PUSH]
    drawn = {
        "push": [line.push for line in lines],
        "pull": [line.pull for line in lines],
        "lists a read": [line.lists for line in lines],
    }
    curves = {
        f"{figure}, measured": [pair.measured for pair in pairs] for figure, pairs in drawn.items()
    } | {
        f"{figure}, predicted": [pair.predicted for pair in pairs]
        for figure, pairs in drawn.items()
    }
    return {
        "x": [*finite, 3 * finite[-1]],
        "x label": f"{name}: threshold (leftmost: pure pull, rightmost: pure push)",
        "y label": "processor s; lists",
        "lines": curves | {"total, measured": [line.total for line in lines]},
    }


def _table_row(name: str, line: Line, recommended: int) -> str:
    threshold = _threshold(line.promote_at)
    if line.promote_at == recommended:
        threshold = f"**{threshold}** (recommended)"
    cells = [name, threshold]
    for pair in (line.push, line.pull, line.lists):
        cells += [amount(median(pair.measured)), amount(median(pair.predicted)), _error(pair)]
    return f"| {' | '.join([*cells, amount(median(line.total))])} |"


def _error(pair: Pair) -> str:
    return f"{pair.error:+.0%}" if all(pair.measured) else ""


def _threshold(promote_at: int) -> str:
    return {PULL: "pure pull", PUSH: "pure push"}.get(promote_at, f"{promote_at:,}")
