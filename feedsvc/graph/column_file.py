"""Files of lines, as graphs and recordings are: columns between blanks or tabs, `#` and `%` comments, `.gz` too."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from feedsvc.formats import parse_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# What reading `ColumnFile` raises where the file cannot be read to its end.
UNREADABLE = (OSError, EOFError, zlib.error)

_GZIP = b"\x1f\x8b"
_NAMED_LINES = 10
_PROGRESS_LINES = 10_000


@dataclass
class Malformed:
    """The lines that say nothing: how many, and the first ten with what is wrong."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, number: int, why: str) -> None:
        """Note one."""
        self.count += 1
        if self.count <= _NAMED_LINES:
            self.first.append(f"line {number}: {why}")

    def __str__(self) -> str:
        more = f" and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
        return f"{self.count} malformed lines ({'; '.join(self.first)}{more})"


class ColumnFile:
    """One pass over a file; `progress` gets the bytes read so far."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self._path = path
        self._progress = progress
        # The number of the line that was read last, from 1.
        self.number = 0
        self.malformed = Malformed()

    def columns(self) -> Iterator[list[bytes]]:
        """The columns of each line that is neither empty nor a comment. Raises `UNREADABLE`."""
        with self._path.open("rb") as raw:
            for line in _unpacked(raw):
                self.number += 1
                if self.number % _PROGRESS_LINES == 0:
                    self._progress(raw.tell())
                parts = line.split()
                if parts and parts[0][:1] not in b"#%":
                    yield parts
            self._progress(raw.tell())

    def is_wrong(self, why: str) -> None:
        """Note that the line read last is malformed."""
        self.malformed.add(self.number, why)


def reason(why: BaseException) -> str:
    """Why a file cannot be read, without its name."""
    return why.strerror if isinstance(why, OSError) and why.strerror else str(why)


def wrong_id(part: bytes) -> str | None:
    """What is wrong with a column that should be an id, if anything is."""
    if parse_id(part.decode(errors="replace")) is not None:
        return None
    return (
        f"{part[:30].decode(errors='replace')!r} is not an id (a decimal number from 1 to 2^63-1)"
    )


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(len(_GZIP))
    raw.seek(0)
    return gzip.open(raw) if magic == _GZIP else raw  # type: ignore[return-value]
