"""Text files with columns: graphs and recordings.

Blanks or tabs separate the columns. Lines that begin with `#` or `%` are comments. A file may be
compressed with gzip.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from feedsvc.formats import parse_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The errors that a `ColumnFile` raises if the file cannot be read to its end.
UNREADABLE = (OSError, EOFError, zlib.error)

_GZIP = b"\x1f\x8b"
_NAMED_LINES = 10
_PROGRESS_LINES = 10_000


@dataclass
class Malformed:
    """Malformed lines: their number, and a message for each of the first ten."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, number: int, why: str) -> None:
        """Count a line, and keep its message if it is among the first ten."""
        self.count += 1
        if self.count <= _NAMED_LINES:
            self.first.append(f"line {number}: {why}")

    def __str__(self) -> str:
        more = f" and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
        return f"{self.count} malformed lines ({'; '.join(self.first)}{more})"


class ColumnFile:
    """One pass over a file. `progress` gets the number of bytes read."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self._path = path
        self._progress = progress
        # The number of the line that was read last. The first line has number 1.
        self.number = 0
        self.malformed = Malformed()

    def columns(self) -> Iterator[list[bytes]]:
        """Yield the columns of each line that has any. Raises `UNREADABLE`."""
        with self._path.open("rb") as raw:
            for line in _decompressed(raw):
                self.number += 1
                if self.number % _PROGRESS_LINES == 0:
                    self._progress(raw.tell())
                parts = line.split()
                if parts and parts[0][:1] not in b"#%":
                    yield parts
            self._progress(raw.tell())

    def is_wrong(self, why: str) -> None:
        """Count the line that was read last as malformed."""
        self.malformed.add(self.number, why)


def reason(why: BaseException) -> str:
    """Return why a file cannot be read, without the file's name."""
    return why.strerror if isinstance(why, OSError) and why.strerror else str(why)


def wrong_id(part: bytes) -> str | None:
    """Return the error in a column that should be an id; None if it is an id."""
    if parse_id(part.decode(errors="replace")) is not None:
        return None
    return (
        f"{part[:30].decode(errors='replace')!r} is not an id (a decimal number from 1 to 2^63-1)"
    )


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(len(_GZIP))
    raw.seek(0)
    return gzip.open(raw) if magic == _GZIP else raw  # type: ignore[return-value]
