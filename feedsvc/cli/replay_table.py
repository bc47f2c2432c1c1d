"""The outcomes of a replay as a table for people: a column for each threshold, today's marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Write = Callable[[float], str]

_POINTS = ("p50", "p90", "p99", "max")
_LABEL_WIDTH = 34


def table(about: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """The events in one line, then a line for each figure. `rows`: `Outcome` as a dict, its threshold with it."""
    first = rows[0]
    events = f"{first['posts']:,} posts and {first['reads']:,} reads ({about['source']}) of {about['accounts']:,} accounts"
    lines = [f"{events} in {about['seconds']:,.0f} s, {about['workers']} workers"]
    if about.get("of_unknown_accounts"):
        lines.append(
            f"events left out, because their accounts are not in the database: {about['of_unknown_accounts']:,}"
        )
    if about.get("reads_are_assumed"):
        lines.append(
            "too few reads have been counted yet: a hundred for each post are assumed, by 70 % of the accounts"
        )
    if about["costs_are_default"]:
        lines.append(
            "unit costs are defaults, measured on another machine: threshold calibrate measures this one's"
        )
    cells = [
        ("promote_at", [_heading(row) for row in rows]),
        *((label, [said(row) for row in rows]) for label, said in _figures()),
    ]
    width = max(len(cell) for _, row in cells for cell in row) + 2
    return [
        *lines,
        "",
        *(
            label.ljust(_LABEL_WIDTH) + "".join(cell.rjust(width) for cell in row)
            for label, row in cells
        ),
    ]


def _heading(row: dict[str, Any]) -> str:
    return f"{row['promote_at']:,}{' (today)' if row['is_today'] else ''}"


def _figures() -> Iterator[tuple[str, Callable[[dict[str, Any]], str]]]:
    """Yield the label of each line of the table, and how a row's value is written there."""
    yield "accounts pulled", lambda row: f"{row['pulled_accounts']:,} ({row['pulled_share']:.3%})"
    yield "posts pushed", lambda row: f"{row['pushed_posts']:,}"
    yield "deliveries", lambda row: f"{row['deliveries']:,}"
    yield from _distribution("time to last follower", "seconds_to_last_follower", _seconds)
    yield from _distribution("a task waits for a worker", "wait_seconds", _seconds)
    yield "workers busy", lambda row: f"{row['workers_busy']:.2%}"
    yield "fan-outs unfinished at the end", lambda row: f"{row['unfinished']:,}"
    yield from _distribution(
        "lists merged per read", "lists_per_read", "{:,}".format, "{:.3f}".format
    )
    yield from _distribution("processor time of a read", "read_seconds", _seconds)
    for part in ("push", "pull", "base", "total"):
        yield f"processor seconds: {part}", _cell("processor_seconds", part, "{:,.1f}".format)


def _distribution(
    label: str, name: str, write: _Write, write_mean: _Write | None = None
) -> Iterator[tuple[str, Callable[[dict[str, Any]], str]]]:
    """Yield the lines of a distribution: its mean, then its percentiles."""
    yield f"{label}: mean", _cell(name, "mean", write_mean or write)
    for point in _POINTS:
        yield f"  {point}", _cell(name, point, write)


def _cell(name: str, part: str, write: _Write) -> Callable[[dict[str, Any]], str]:
    return lambda row: write(row[name][part])


def _seconds(value: float) -> str:
    return f"{value:,.1f} s" if value >= 10 else f"{value * 1000:,.1f} ms"  # noqa: PLR2004 -- where milliseconds stop to say more
