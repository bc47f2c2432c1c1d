"""Importing a follow graph from a file: lines `follower followee`, blanks or tabs between, `#` and `%` comments, `.gz` too."""

from __future__ import annotations

import gzip
import re
import time
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from feedsvc.errors import FeedsvcError
from feedsvc.graph.load import Edge, load_edges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from feedsvc.store import Stores

_ID = re.compile(rb"[1-9][0-9]{0,18}")
_LARGEST = 2**63 - 1
_GZIP = b"\x1f\x8b"
_NAMED_LINES = 10
_PROGRESS_LINES = 10_000


class GraphUnreadable(FeedsvcError):
    """The file cannot be read to its end."""

    def __init__(self, path: Path, why: Exception) -> None:
        reason = why.strerror if isinstance(why, OSError) and why.strerror else str(why)
        super().__init__(f"{path} cannot be read: {reason}; nothing was imported")


class GraphMalformed(FeedsvcError):
    """The file has lines that are no edges."""

    def __init__(self, path: Path, malformed: Malformed) -> None:
        self.malformed = malformed
        super().__init__(f"{path}: {malformed}; nothing was imported (--on-error skip imports the rest)")


@dataclass
class Malformed:
    """The lines that are no edges: how many, and the first ten with what is wrong."""

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


@dataclass(frozen=True)
class ImportReport:
    """What an import has found and done. `repeats`: edges that were in the file before, or in the database."""

    lines: int
    edges: int
    accounts_created: int
    follows_created: int
    repeats: int
    refused: int
    malformed: int
    malformed_lines: list[str]
    seconds: float


def import_graph(stores: Stores, path: Path, *, skip_malformed: bool, progress: Callable[[int], None] = lambda _: None) -> ImportReport:
    """Import the file, all of it or nothing; `progress` gets the bytes read so far.

    Raises `GraphUnreadable`, and `GraphMalformed` unless malformed lines are to be skipped.
    """
    started = time.monotonic()
    reading = _Reading(path, skip_malformed, progress)
    try:
        loaded = load_edges(stores, reading.edges())
    except (OSError, EOFError, zlib.error) as error:
        raise GraphUnreadable(path, error) from None
    return ImportReport(
        lines=reading.lines,
        edges=reading.found,
        accounts_created=loaded.accounts_created,
        follows_created=loaded.follows_created,
        repeats=reading.found - loaded.follows_created - loaded.refused,
        refused=loaded.refused,
        malformed=reading.malformed.count,
        malformed_lines=reading.malformed.first,
        seconds=round(time.monotonic() - started, 3),
    )


class _Reading:
    """One pass over a file."""

    def __init__(self, path: Path, skip_malformed: bool, progress: Callable[[int], None]) -> None:
        self._path = path
        self._skip_malformed = skip_malformed
        self._progress = progress
        self.lines = 0
        self.found = 0
        self.malformed = Malformed()

    def edges(self) -> Iterator[Edge]:
        """Every edge of the file. At its end, raises `GraphMalformed` if lines were not, and those are not to be skipped."""
        with self._path.open("rb") as raw:
            for line in _unpacked(raw):
                self.lines += 1
                if self.lines % _PROGRESS_LINES == 0:
                    self._progress(raw.tell())
                edge = self._edge(line)
                if edge is not None:
                    self.found += 1
                    yield edge
            self._progress(raw.tell())
        if self.malformed.count and not self._skip_malformed:
            raise GraphMalformed(self._path, self.malformed)

    def _edge(self, line: bytes) -> Edge | None:
        parts = line.split()
        if not parts or parts[0][:1] in b"#%":
            return None
        why = _wrong(parts)
        if why is not None:
            self.malformed.add(self.lines, why)
            return None
        return int(parts[0]), int(parts[1])


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(len(_GZIP))
    raw.seek(0)
    return gzip.open(raw) if magic == _GZIP else raw  # type: ignore[return-value]


def _wrong(parts: list[bytes]) -> str | None:
    """What is wrong with a line, if anything is."""
    if len(parts) != 2:  # noqa: PLR2004 -- follower and followee
        return f"{len(parts)} columns instead of 2"
    for part in parts:
        if not _ID.fullmatch(part) or int(part) > _LARGEST:
            return f"{part[:30].decode(errors='replace')!r} is not an id (a decimal number from 1 to 2^63-1)"
    return "follows itself" if parts[0] == parts[1] else None
