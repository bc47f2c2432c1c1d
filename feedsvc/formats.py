"""How ids, times and numbers are written for people and for JSON, and percentiles. Pure."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# The largest id of an account or a post: the largest signed 64-bit integer.
MAX_ID = 2**63 - 1
ACCEPTED_ID = f"Must be a decimal string of ASCII digits between 1 and {MAX_ID}."
UNKNOWN = "–"  # noqa: RUF001 -- typography

_DECIMAL_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_THOUSANDS = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"))
_BYTES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_TIMES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))


def parse_id(text: Any) -> int | None:
    """Return an account or post id written in decimal; None if the text is not an id."""
    if not isinstance(text, str) or not _DECIMAL_ID.fullmatch(text):
        return None
    number = int(text)
    return number if number <= MAX_ID else None


def rfc3339(time: dt.datetime) -> str:
    """Return an aware time as RFC 3339 in UTC, to the millisecond."""
    return time.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_ms(ms_since_1970: int) -> str:
    """Return milliseconds since 1970 as RFC 3339 in UTC."""
    second = dt.datetime.fromtimestamp(ms_since_1970 // 1000, dt.UTC)
    return rfc3339(second.replace(microsecond=ms_since_1970 % 1000 * 1000))


def moment(time: dt.datetime | None) -> str:
    """Return a time to the minute, in UTC."""
    return UNKNOWN if time is None else f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"


def number(value: float | None) -> str:
    """Return whole numbers in full up to a million; larger numbers and fractions to three digits."""
    if value is None:
        return UNKNOWN
    for unit, name in _THOUSANDS:
        if abs(value) >= unit:
            return f"{_three_digits(value / unit)} {name}"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else _three_digits(value)  # noqa: PLR2004 -- three digits


def whole(value: float) -> str:
    """Return a number without its fraction, with commas between thousands."""
    return f"{value:,.0f}"


def amount(value: float) -> str:
    """Return a number to the unit from 100 on, to three digits below."""
    return whole(value) if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 -- three digits


def size(value: float | None) -> str:
    """Return bytes in decimal units, to three digits."""
    if value is None:
        return UNKNOWN
    for unit, name in _BYTES:
        if abs(value) >= unit:
            return f"{_three_digits(value / unit)} {name}"
    return f"{value:.0f} B"


def duration(seconds: float | None) -> str:
    """Return seconds in the largest unit that gives at least one, to three digits."""
    if seconds is None:
        return UNKNOWN
    if seconds == 0:
        return "0 s"
    unit, name = next(((unit, name) for unit, name in _TIMES if abs(seconds) >= unit), _TIMES[-1])
    return f"{_three_digits(seconds / unit)} {name}"


def seconds_or_ms(seconds: float) -> str:
    """Return seconds, or milliseconds below one second."""
    return f"{amount(seconds)} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def signed(value: float, spell: Callable[[float | None], str] = number) -> str:
    """Return a difference with its sign; the minus is the typographic one."""
    return "no change" if value == 0 else f"{'+' if value > 0 else '−'}{spell(abs(value))}"  # noqa: RUF001 -- typography


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: `1 account`, `12 accounts`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def percentile(ascending: Sequence[float], per_cent: float) -> float | None:
    """Return the smallest value that `per_cent` of the values do not exceed (nearest rank); None without values."""
    return weighted_percentile(((value, 1) for value in ascending), len(ascending), per_cent)


def weighted_percentile(
    ascending: Iterable[tuple[float, float]], total: float, per_cent: float
) -> float | None:
    """Return the smallest value that `per_cent` of the weight does not exceed; None without weight.

    `ascending`: pairs of a value and its weight, by value. `total`: the sum of the weights.
    """
    reached, last = 0.0, None
    for value, weight in ascending:
        reached, last = reached + weight, value
        if reached * 100 >= total * per_cent:
            break
    return last


def _three_digits(value: float) -> str:
    text = f"{value:,.{max(0, 2 - _magnitude(value))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _magnitude(value: float) -> int:
    """Return 0 for 1 … 9.99, 1 for 10 … 99.9, -1 for 0.1 … 0.999."""
    return int(f"{value:e}".partition("e")[2])
