"""What was predicted of a version beside what was measured while it held. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feedsvc.formats import duration, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.routing.versions import PolicyInfo

# name, where the preview has it, what was measured, whether that is a sum to be brought to a day, how it is spelled
_COMPARED: tuple[tuple[str, str, str, bool, Callable[..., str]], ...] = (
    ("Deliveries a day", "deliveries_per_day", "deliveries", True, number),
    (
        "Upload to last follower (mean predicted, p99 measured)",
        "seconds_to_last_follower",
        "delivery_p99_seconds",
        False,
        duration,
    ),
    ("Lists merged a read, mean", "lists_per_read.mean", "lists_per_read", False, number),
    (
        "Processor time a day (measured without the stores)",
        "processor_seconds_per_day.total",
        "processor_seconds",
        True,
        duration,
    ),
    ("Read latency, 99th percentile", "", "read_p99_seconds", False, duration),
)


_DAY_SECONDS = 86_400
_LEAST_DAYS = 1 / 24


@dataclass(frozen=True)
class ComparisonRow:
    """One figure, spelled."""

    name: str
    predicted: str
    measured: str


def compared(version: PolicyInfo) -> list[ComparisonRow]:
    """Each figure that was predicted or measured."""
    found, days = version.measured or {}, measured_seconds(version) / _DAY_SECONDS
    rows = []
    for name, path, key, is_sum, spell in _COMPARED:
        value = found.get(key)
        measured = _a_day(value, days) if is_sum else value
        rows.append(ComparisonRow(name, spell(_proposed(version.predicted, path)), spell(measured)))
    return rows


def _proposed(predicted: dict[str, Any] | None, path: str) -> float | None:
    """The proposed value of the figure at this path."""
    at: Any = predicted
    for name in filter(None, path.split(".")):
        at = (at or {}).get(name)
    return at.get("proposed") if at and path else None


def measured_seconds(version: PolicyInfo) -> float:
    """Over how long it was measured; 0 if it was not."""
    if version.measured is None:
        return 0.0
    since, until = (dt.datetime.fromisoformat(version.measured[end]) for end in ("since", "until"))
    return (until - since).total_seconds()


def _a_day(value: float | None, days: float) -> float | None:
    """A sum brought to a day; less than an hour says nothing about one."""
    return None if value is None or days < _LEAST_DAYS else value / days
