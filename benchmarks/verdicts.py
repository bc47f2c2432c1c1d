"""The accuracy of the cost model as a result: criteria, series, curves, and the table of the documentation. Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.compared import PULL, PUSH, compare
from benchmarks.results import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchmarks.compared import Found, Line, Pair

# Less than this share of what a threshold decides there is not judged: the noise of what it does not decide is as large.
_JUDGED_SHARE = 0.1
_JUDGED_LISTS = 0.1
_CHART = (
    "[The same as a chart](../benchmarks/accuracy.svg), "
    "and [every round's figures](../benchmarks/accuracy.json)."
)
_HEAD = [
    "| | threshold | push, s | predicted | | pull, s | predicted | | lists/read | predicted | | total, s |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
]


def result(found: Mapping[str, Found]) -> dict[str, Any]:
    """Everything that a result has but its settings."""
    lines = {name: compare(each) for name, each in found.items()}
    rows: dict[str, list[float]] = {}
    for name, each in found.items():
        rows |= _rows(name, lines[name], each.recommended)
    return {
        "rows": rows,
        "series": {
            key: values
            for name in found
            for line in lines[name]
            for key, values in _series(name, line)
        },
        "curves": [_curves(name, each) for name, each in lines.items()],
        "table": [
            *_HEAD,
            *(
                _table_row(name, line, found[name].recommended)
                for name in found
                for line in lines[name]
            ),
            "",
            _CHART,
        ],
        "document": "evidence/threshold.md",
        "server": next(iter(found.values())).server,
        "notes": [_NOTE],
    }


_NOTE = (
    "Accuracy: processor seconds of one run. An error is the median of the rounds' ratios, less one; a criterion is the largest of its "
    f"thresholds. Push and pull are judged where they are at least {_JUDGED_SHARE:.0%} of both together, lists from {_JUDGED_LISTS} on."
)


def _rows(name: str, lines: list[Line], recommended: int) -> dict[str, list[float]]:
    """The largest errors, and what the recommended threshold costs more than the best."""
    judged = {
        "push": [line.push for line in lines if _counts(line.push, line)],
        "pull": [line.pull for line in lines if _counts(line.pull, line)],
        "lists": [line.lists for line in lines if median(line.lists.measured) >= _JUDGED_LISTS],
    }
    totals = {line.promote_at: median(line.total) for line in lines}
    rows = {
        f"{name} {what}": [max(abs(pair.error) for pair in pairs)]
        for what, pairs in judged.items()
        if pairs
    }
    return rows | {f"{name} recommended": [totals[recommended] / min(totals.values())]}


def _counts(part: Pair, line: Line) -> bool:
    both = median(line.push.measured) + median(line.pull.measured)
    return median(part.measured) >= _JUDGED_SHARE * both > 0


def _series(name: str, line: Line) -> Iterable[tuple[str, list[float]]]:
    at = f"{name}, {_threshold(line.promote_at)}"
    for what, pair in (("push", line.push), ("pull", line.pull), ("lists a read", line.lists)):
        yield f"{at}, {what}", pair.measured
        yield f"{at}, {what}, predicted", pair.predicted
    yield f"{at}, total", line.total


def _curves(name: str, lines: list[Line]) -> dict[str, Any]:
    """Pure push as if its threshold were three times the highest."""
    finite = [line.promote_at for line in lines if line.promote_at != PUSH]
    drawn = {
        "push": [line.push for line in lines],
        "pull": [line.pull for line in lines],
        "lists a read": [line.lists for line in lines],
    }
    curves = {
        f"{what}, measured": [pair.measured for pair in pairs] for what, pairs in drawn.items()
    }
    curves |= {
        f"{what}, predicted": [pair.predicted for pair in pairs] for what, pairs in drawn.items()
    }
    return {
        "x": [*finite, 3 * finite[-1]],
        "x label": f"{name}: threshold (leftmost: pure pull, rightmost: pure push)",
        "y label": "processor s; lists",
        "lines": curves | {"total, measured": [line.total for line in lines]},
    }


def _table_row(name: str, line: Line, recommended: int) -> str:
    at = _threshold(line.promote_at)
    cells = [name, f"**{at}** (recommended)" if line.promote_at == recommended else at]
    for pair in (line.push, line.pull, line.lists):
        cells += [number(median(pair.measured)), number(median(pair.predicted)), _error(pair)]
    return f"| {' | '.join([*cells, number(median(line.total))])} |"


def _error(pair: Pair) -> str:
    return f"{pair.error:+.0%}" if all(pair.measured) else ""


def _threshold(promote_at: int) -> str:
    return {PULL: "pure pull", PUSH: "pure push"}.get(promote_at, f"{promote_at:,}")
