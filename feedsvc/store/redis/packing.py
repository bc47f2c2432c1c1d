"""Commands packed by hand, where the client library's packing costs more than the server's work.

The library encodes each argument by itself, 0.18 µs apiece; a slice of a fan-out has hundreds of keys that differ in an id alone, and
all ids of one length are packed in one join, 0.012 µs apiece (docs/performance.md).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def command(count: int, *parts: str) -> bytes:
    """A command of `count` arguments (RESP: an array of bulk strings), which `parts` hold, packed."""
    return "".join((f"*{count}\r\n", *parts)).encode()


def arguments(*values: Any) -> str:
    """Some arguments, ASCII, each packed by itself."""
    return "".join(f"${len(text)}\r\n{text}\r\n" for text in map(str, values))


def prefixed(prefix: str, suffixes: Sequence[str]) -> str:
    """The arguments `prefix` + each suffix, ASCII; the suffixes are in ascending order of length, as ascending numbers are."""
    runs = []
    first = 0
    while first < len(suffixes):
        length = len(suffixes[first])
        after = bisect_right(suffixes, length, lo=first, key=len)
        header = f"${len(prefix) + length}\r\n{prefix}"
        runs.append(header + f"\r\n{header}".join(suffixes[first:after]) + "\r\n")
        first = after
    return "".join(runs)
