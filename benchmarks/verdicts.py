"""The accuracy of the cost model as a result: rows, cells, series, curves, and a table. Pure."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.compared import compare, recommended
from benchmarks.recording import PULL, PUSH
from feedsvc.formats import amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.compared import Line, Pair
    from benchmarks.recording import Recording
    from feedsvc.planning.costs import UnitCosts

_FIGURES = ("push", "pull", "lists")
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
    "Accuracy: processor seconds of one run. An error is the median of the rounds' ratios of "
    "predicted to measured, less one, without its sign; every judged threshold of every mix has "
    "one. Push and pull are judged where they are at least a tenth of both together, push from 20 "
    "pushed posts a run on, and lists from 0.1 per read on. *Recommended* has one value for each "
    "mix."
)


def result(recordings: Sequence[Recording], costs: Mapping[str, UnitCosts]) -> dict[str, Any]:
    """Return a result without its settings; `costs`: for each graph by name."""
    rows: dict[str, list[float]] = defaultdict(list)
    cells: list[dict[str, Any]] = []
    series: dict[str, list[float]] = {}
    curves, table = [], []
    for recording in recordings:
        lines = compare(recording, costs[recording.graph])
        best = recommended(recording, costs[recording.graph])
        cells += [_cell(recording, line, figure) for line in lines for figure in _FIGURES]
        for name, values in _rows(recording.graph, lines, best).items():
            rows[name] += values
        for line in lines:
            series |= _series(recording.name, line)
            table.append(_table_row(recording.name, line, best))
        curves.append(_curves(recording.name, lines))
    return {
        "rows": {name: sorted(values, reverse=True) for name, values in rows.items()},
        "cells": cells,
        "series": series,
        "curves": curves,
        "table": [_TITLES, _RULE, *table, "", _CHART],
        "document": "evidence/threshold.md",
        "server": recordings[0].server,
        "notes": [_NOTE],
    }


def _rows(graph: str, lines: Sequence[Line], best: int) -> dict[str, list[float]]:
    """Return the errors of judged figures, and the cost of the recommended ÷ that of the best."""
    rows: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        for figure, pair in line.judged().items():
            rows[f"{graph} {figure}"].append(abs(pair.error))
    totals = {line.promote_at: median(line.total) for line in lines}
    return {**rows, f"{graph} recommended": [totals[best] / min(totals.values())]}


def _cell(recording: Recording, line: Line, figure: str) -> dict[str, Any]:
    pair: Pair = getattr(line, figure)
    return {
        "graph": recording.graph,
        "mix": recording.mix,
        "promote_at": line.promote_at,
        "figure": figure,
        "measured": median(pair.measured),
        "predicted": median(pair.predicted),
        "error": pair.error if all(pair.measured) else None,
        "judged": figure in line.judged(),
    }


def _series(name: str, line: Line) -> dict[str, list[float]]:
    prefix, series = f"{name}, {_threshold(line.promote_at)}", {}
    for figure, pair in (("push", line.push), ("pull", line.pull), ("lists a read", line.lists)):
        series[f"{prefix}, {figure}"] = pair.measured
        series[f"{prefix}, {figure}, predicted"] = pair.predicted
    return series | {f"{prefix}, total": line.total}


def _curves(name: str, lines: Sequence[Line]) -> dict[str, Any]:
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


def _table_row(name: str, line: Line, best: int) -> str:
    threshold = _threshold(line.promote_at)
    if line.promote_at == best:
        threshold = f"**{threshold}** (recommended)"
    cells, judged = [name, threshold], line.judged()
    for figure in _FIGURES:
        pair: Pair = getattr(line, figure)
        error = f"{pair.error:+.0%}" if all(pair.measured) else ""
        shown = error if figure in judged or not error else f"({error})"
        cells += [amount(median(pair.measured)), amount(median(pair.predicted)), shown]
    return f"| {' | '.join([*cells, amount(median(line.total))])} |"


def _threshold(promote_at: int) -> str:
    return {PULL: "pure pull", PUSH: "pure push"}.get(promote_at, f"{promote_at:,}")
