"""Formats of ids, times, hosts and numbers for people and for JSON, and percentiles. Pure."""

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
# The grammar of RFC 3339, section 5.6. The calendar and the clock judge the numbers.
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(:[0-9]{1,5})?")
_PATH_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_LEAP_SECOND = 60
_THOUSANDS = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"))
_BYTES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_TIMES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))


def parse_id(text: Any) -> int | None:
    """Parse an account or post id in decimal digits. Return None if the text is not an id."""
    if not isinstance(text, str) or not _DECIMAL_ID.fullmatch(text):
        return None
    number = int(text)
    return number if number <= MAX_ID else None


def is_host(text: str) -> bool:
    """Return whether the text is one host, with or without a port, as a `Host` header has it."""
    return _HOST.fullmatch(text) is not None


def is_path_prefix(text: str) -> bool:
    """Return whether the text is a path without a slash at its end, like `/feeds`, or empty."""
    return _PATH_PREFIX.fullmatch(text) is not None


def parse_rfc3339(text: Any) -> dt.datetime | None:
    """Parse a time by RFC 3339, and return it in UTC. Return None if the text is not one.

    Digits beyond the microsecond are cut. A leap second, `:60` at the end of a month in UTC, counts
    as the second after it, as in POSIX. Returns None also for a time that lies outside the years 1
    to 9999 in UTC, because no store can keep it.
    """
    found = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    *clock, fraction, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = map(int, clock)
    micro = int((fraction or "").ljust(6, "0")[:6])
    offset = dt.timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    is_leap = second == _LEAP_SECOND
    try:
        local = dt.datetime(
            year, month, day, hour, minute, 59 if is_leap else second, micro, dt.UTC
        )
        time = local + offset if sign == "-" else local - offset
        after = time + dt.timedelta(seconds=is_leap)
    except (ValueError, OverflowError):
        return None
    begins_month = (after.day, after.hour, after.minute, after.second) == (1, 0, 0, 0)
    return after if begins_month or not is_leap else None


def rfc3339(time: dt.datetime) -> str:
    """Format an aware time by RFC 3339 in UTC, to the millisecond."""
    return time.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_ms(ms_since_1970: int) -> str:
    """Format milliseconds since 1970 by RFC 3339 in UTC."""
    second = dt.datetime.fromtimestamp(ms_since_1970 // 1000, dt.UTC)
    return rfc3339(second.replace(microsecond=ms_since_1970 % 1000 * 1000))


def moment(time: dt.datetime | None) -> str:
    """Format a time in UTC, to the minute."""
    return UNKNOWN if time is None else f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"


def number(value: float | None) -> str:
    """Format a number: in full if whole and below a million, else to three digits."""
    if value is None:
        return UNKNOWN
    is_short = value == int(value) or abs(value) >= 100  # noqa: PLR2004 -- three digits
    return _in_unit(value, _THOUSANDS) or (whole(value) if is_short else _three_digits(value))


def whole(value: float) -> str:
    """Format a number without its fraction, with commas between thousands."""
    return f"{value:,.0f}"


def amount(value: float) -> str:
    """Format a number: to the unit from 100 on, to three digits below 100."""
    return whole(value) if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 -- three digits


def size(value: float | None) -> str:
    """Format bytes in decimal units, to three digits."""
    return UNKNOWN if value is None else _in_unit(value, _BYTES) or f"{value:.0f} B"


def duration(seconds: float | None) -> str:
    """Format seconds to three digits, in the largest unit that gives at least 1."""
    if seconds is None:
        return UNKNOWN
    if seconds == 0:
        return "0 s"
    return _in_unit(seconds, _TIMES) or f"{_three_digits(seconds * 1000)} ms"


def seconds_or_ms(seconds: float) -> str:
    """Format seconds, or milliseconds below one second."""
    return f"{amount(seconds)} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def signed(value: float, spell: Callable[[float | None], str] = number) -> str:
    """Format a difference with its sign, a typographic minus."""
    sign = "+" if value > 0 else "−"  # noqa: RUF001 -- typography
    return "no change" if value == 0 else f"{sign}{spell(abs(value))}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Format a count with its noun: `1 account`, `12 accounts`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def percentile(ascending: Sequence[float], per_cent: float) -> float | None:
    """Return the smallest value that `per_cent` of the values do not exceed (nearest rank).

    None without values.
    """
    return weighted_percentile(((value, 1) for value in ascending), len(ascending), per_cent)


def weighted_percentile(
    ascending: Iterable[tuple[float, float]], total: float, per_cent: float
) -> float | None:
    """Return the smallest value that `per_cent` of the weight does not exceed. None without weight.

    `ascending` has pairs of a value and its weight, sorted by value. `total` is the sum of weights.
    """
    reached, last = 0.0, None
    for value, weight in ascending:
        reached, last = reached + weight, value
        if reached * 100 >= total * per_cent:
            break
    return last


def _in_unit(value: float, units: Iterable[tuple[float, str]]) -> str | None:
    """Format a value in the first unit that is not larger than it. None below the last unit."""
    return next(
        (f"{_three_digits(value / unit)} {name}" for unit, name in units if abs(value) >= unit),
        None,
    )


def _three_digits(value: float) -> str:
    magnitude = int(f"{value:e}".partition("e")[2])  # 0 for 1 … 9.99, -1 for 0.1 … 0.999
    text = f"{value:,.{max(0, 2 - magnitude)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
