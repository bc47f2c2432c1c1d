"""Figures as people read them. Pure: the templates' filters."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_THOUSANDS = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"))
_BYTES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_TIMES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))
UNKNOWN = "–"  # noqa: RUF001 -- typography


def number(value: float | None) -> str:
    """Whole numbers in full up to a million, `1,234`; larger ones and fractions with three digits that count."""
    if value is None:
        return UNKNOWN
    for size, name in _THOUSANDS:
        if abs(value) >= size:
            return f"{_three_digits(value / size)} {name}"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else _three_digits(value)  # noqa: PLR2004 -- three digits


def size(value: float | None) -> str:
    """Bytes, in decimal units."""
    if value is None:
        return UNKNOWN
    for unit, name in _BYTES:
        if abs(value) >= unit:
            return f"{_three_digits(value / unit)} {name}"
    return f"{value:.0f} B"


def duration(seconds: float | None) -> str:
    """Seconds in the largest unit that gives at least one."""
    if seconds is None:
        return UNKNOWN
    if seconds == 0:
        return "0 s"
    unit, name = next(((unit, name) for unit, name in _TIMES if abs(seconds) >= unit), _TIMES[-1])
    return f"{_three_digits(seconds / unit)} {name}"


def signed(value: float, spell: Callable[[float | None], str] = number) -> str:
    """A difference, with its sign; the minus is a real one."""
    return "no change" if value == 0 else f"{'+' if value > 0 else '−'}{spell(abs(value))}"  # noqa: RUF001 -- typography


def moment(time: dt.datetime | None) -> str:
    """A time to the minute, UTC."""
    return UNKNOWN if time is None else f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 account`, `12 accounts`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def _three_digits(value: float) -> str:
    text = f"{value:,.{max(0, 2 - _magnitude(value))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _magnitude(value: float) -> int:
    """0 for 1 … 9.99, 1 for 10 … 99.9, -1 for 0.1 … 0.999."""
    return int(f"{value:e}".partition("e")[2])


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "size": size,
    "duration": duration,
    "signed": signed,
    "moment": moment,
    "counted": counted,
}
