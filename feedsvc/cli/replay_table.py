"""The results of a replay as a table: a column for each threshold, today's marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feedsvc.formats import amount, seconds_or_ms, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_POINTS = ("p50", "p90", "p99", "max")
_LABEL_WIDTH = 34


def table(about: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Return a summary of the events, then a line for each figure.

    `rows`: a `ReplayResult` as a dictionary for each threshold, with the threshold.
    """
    cells = [
        [label, *(write(row) for row in rows)]
        for label, write in [("promote_at", _heading), *_figures()]
    ]
    width = max(len(cell) for line in cells for cell in line[1:]) + 2
    return [
        *_summary(about, rows[0]),
        "",
        *(
            label.ljust(_LABEL_WIDTH) + "".join(cell.rjust(width) for cell in line)
            for label, *line in cells
        ),
    ]


def _summary(about: dict[str, Any], first: dict[str, Any]) -> Iterator[str]:
    events = f"{first['posts']:,} posts and {first['reads']:,} reads ({about['source']})"
    where = f"{about['accounts']:,} accounts in {about['seconds']:,.0f} s"
    yield f"{events} of {where}, {about['workers']} workers"
    if about.get("of_unknown_accounts"):
        left_out = f"{about['of_unknown_accounts']:,}"
        yield f"events left out, because their accounts are not in the database: {left_out}"
    if about.get("reads_are_assumed"):
        yield (
            "too few reads have been counted yet: "
            "a hundred for each post are assumed, by 70 % of the accounts"
        )
    if about["costs_are_default"]:
        yield (
            "unit costs are defaults, measured on another machine: "
            "threshold calibrate measures this one's"
        )


def _heading(row: dict[str, Any]) -> str:
    return f"{row['promote_at']:,}{' (today)' if row['is_today'] else ''}"


def _figures() -> Iterator[tuple[str, Callable[[dict[str, Any]], str]]]:
    """Yield the label of each line, and the function that writes its value of a row."""
    yield "accounts pulled", lambda row: f"{row['pulled_accounts']:,} ({row['pulled_share']:.3%})"
    yield "posts pushed", lambda row: whole(row["pushed_posts"])
    yield "deliveries", lambda row: whole(row["deliveries"])
    yield from _distribution("time to last follower", "seconds_to_last_follower", seconds_or_ms)
    yield from _distribution("a task waits for a worker", "wait_seconds", seconds_or_ms)
    yield "workers busy", lambda row: f"{row['workers_busy']:.2%}"
    yield "fan-outs unfinished at the end", lambda row: whole(row["unfinished"])
    yield from _distribution("lists merged per read", "lists_per_read", amount)
    yield from _distribution("processor time of a read", "read_seconds", seconds_or_ms)
    for part in ("push", "pull", "base", "total"):
        yield f"processor seconds: {part}", _cell("processor_seconds", part, amount)


def _distribution(
    label: str, name: str, write: Callable[[float], str]
) -> Iterator[tuple[str, Callable[[dict[str, Any]], str]]]:
    yield f"{label}: mean", _cell(name, "mean", write)
    for point in _POINTS:
        yield f"  {point}", _cell(name, point, write)


def _cell(name: str, part: str, write: Callable[[float], str]) -> Callable[[dict[str, Any]], str]:
    return lambda row: write(row[name][part])
