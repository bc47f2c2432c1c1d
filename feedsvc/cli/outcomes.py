"""The outcomes of a replay as a table for people: a column for each threshold, today's marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_POINTS = ("p50", "p90", "p99", "max")
_LABEL_WIDTH = 34


def table(about: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """The events in one line, then a line for each figure. `rows`: `Outcome` as a dict, its threshold with it."""
    first = rows[0]
    events = f"{first['posts']:,} posts and {first['reads']:,} reads ({about['source']}) of {about['accounts']:,} accounts"
    lines = [f"{events} in {about['seconds']:,.0f} s, {about['workers']} workers"]
    if about.get("of_unknown_accounts"):
        lines.append(f"events left out, because their accounts are not in the database: {about['of_unknown_accounts']:,}")
    if about.get("reads_are_assumed"):
        lines.append("too few reads have been counted yet: a hundred for each post are assumed, by 70 % of the accounts")
    if about["costs_are_default"]:
        lines.append("unit costs are defaults, measured on another machine: threshold calibrate measures this one's")
    cells = [("promote_at", [_heading(row) for row in rows]), *((label, [said(row) for row in rows]) for label, said in _figures())]
    width = max(len(cell) for _, row in cells for cell in row) + 2
    return [*lines, "", *(label.ljust(_LABEL_WIDTH) + "".join(cell.rjust(width) for cell in row) for label, row in cells)]


def _heading(row: dict[str, Any]) -> str:
    return f"{row['promote_at']:,}{' (today)' if row['is_today'] else ''}"


def _figures() -> Iterator[tuple[str, Callable[[dict[str, Any]], str]]]:
    """What is said of a threshold, line by line."""
    yield "accounts pulled", lambda row: f"{row['pulled_accounts']:,} ({row['pulled_share']:.3%})"
    yield "posts pushed", lambda row: f"{row['pushed_posts']:,}"
    yield "deliveries", lambda row: f"{row['deliveries']:,}"
    yield "time to last follower: mean", lambda row: _seconds(row["seconds_to_last_follower"]["mean"])
    for point in _POINTS:
        yield f"  {point}", lambda row, point=point: _seconds(row["seconds_to_last_follower"][point])  # type: ignore[misc]
    yield "a task waits for a worker: mean", lambda row: _seconds(row["wait_seconds"]["mean"])
    for point in _POINTS:
        yield f"  {point}", lambda row, point=point: _seconds(row["wait_seconds"][point])  # type: ignore[misc]
    yield "workers busy", lambda row: f"{row['workers_busy']:.2%}"
    yield "fan-outs unfinished at the end", lambda row: f"{row['unfinished']:,}"
    yield "lists merged per read: mean", lambda row: f"{row['lists_per_read']['mean']:.3f}"
    for point in _POINTS:
        yield f"  {point}", lambda row, point=point: f"{row['lists_per_read'][point]:,}"  # type: ignore[misc]
    yield "processor time of a read: mean", lambda row: _seconds(row["read_seconds"]["mean"])
    for point in _POINTS:
        yield f"  {point}", lambda row, point=point: _seconds(row["read_seconds"][point])  # type: ignore[misc]
    for part in ("push", "pull", "base", "total"):
        yield f"processor seconds: {part}", lambda row, part=part: f"{row['processor_seconds'][part]:,.1f}"  # type: ignore[misc]


def _seconds(value: float) -> str:
    return f"{value:,.1f} s" if value >= 10 else f"{value * 1000:,.1f} ms"  # noqa: PLR2004 -- where milliseconds stop to say more
