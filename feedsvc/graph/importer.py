"""Importing a follow graph from a column file with lines `follower followee`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.errors import FeedsvcError
from feedsvc.graph.column_file import UNREADABLE, ColumnFile, reason, wrong_id
from feedsvc.graph.load import Edge, load_edges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from feedsvc.graph.column_file import Malformed
    from feedsvc.store import Stores


class GraphUnreadable(FeedsvcError):
    """The file cannot be read to its end."""

    def __init__(self, path: Path, why: Exception) -> None:
        super().__init__(f"{path} cannot be read: {reason(why)}; nothing was imported")


class GraphMalformed(FeedsvcError):
    """The file has malformed lines."""

    def __init__(self, path: Path, malformed: Malformed) -> None:
        super().__init__(
            f"{path}: {malformed}; nothing was imported (--on-error skip imports the rest)"
        )


@dataclass(frozen=True)
class ImportReport:
    """The counts of an import.

    `repeats`: edges that the file or the database had already. `refused`: edges between accounts of
    which one blocks the other or is being deleted.
    """

    lines: int
    edges: int
    accounts_created: int
    follows_created: int
    repeats: int
    refused: int
    malformed: int
    malformed_lines: list[str]
    seconds: float


def import_graph(
    stores: Stores,
    path: Path,
    *,
    skip_malformed: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> ImportReport:
    """Import the whole file or nothing. `progress` gets the number of bytes read.

    Raises `GraphUnreadable`. Raises `GraphMalformed` for malformed lines unless they are skipped.
    """
    started = time.monotonic()
    lines = ColumnFile(path, progress)
    try:
        loaded = load_edges(stores, _edges(lines, path, skip_malformed))
    except UNREADABLE as error:
        raise GraphUnreadable(path, error) from None
    return ImportReport(
        lines=lines.number,
        edges=loaded.edges,
        accounts_created=loaded.accounts_created,
        follows_created=loaded.follows_created,
        repeats=loaded.edges - loaded.follows_created - loaded.refused,
        refused=loaded.refused,
        malformed=lines.malformed.count,
        malformed_lines=lines.malformed.first,
        seconds=round(time.monotonic() - started, 3),
    )


def _edges(lines: ColumnFile, path: Path, skip_malformed: bool) -> Iterator[Edge]:
    """Yield every edge of the file.

    Raises `GraphMalformed` at the end of the file unless malformed lines are skipped.
    """
    for parts in lines.columns():
        why = _wrong(parts)
        if why is None:
            yield int(parts[0]), int(parts[1])
        else:
            lines.is_wrong(why)
    if lines.malformed.count and not skip_malformed:
        raise GraphMalformed(path, lines.malformed)


def _wrong(parts: list[bytes]) -> str | None:
    """Return the error in a line; None if the line is an edge."""
    if len(parts) != 2:  # noqa: PLR2004 -- follower and followee
        return f"{len(parts)} columns instead of 2"
    return (
        wrong_id(parts[0])
        or wrong_id(parts[1])
        or ("follows itself" if parts[0] == parts[1] else None)
    )
