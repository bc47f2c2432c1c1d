"""A recording: a file of lines `seconds post|read account` in the order of time.

`docs/threshold.md` describes the format.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.errors import FeedsvcError
from feedsvc.graph.column_file import UNREADABLE, ColumnFile, reason, wrong_id
from feedsvc.planning.replay.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from feedsvc.planning.replay.follow_graph import FollowGraph

_SECONDS = re.compile(rb"[0-9]{1,12}(\.[0-9]{1,9})?")
_COLUMNS = 3


class BadRecording(FeedsvcError):
    """The file cannot be read to its end, or has lines that are no events."""

    def __init__(self, path: Path, problem: object) -> None:
        super().__init__(f"{path}: {problem}; nothing was simulated")


@dataclass(frozen=True)
class Recording:
    """The events of a file. `unknown`: events left out, because the graph lacks their account."""

    workload: Workload
    unknown: int


def read(
    path: Path, graph: FollowGraph, progress: Callable[[int], None] = lambda _: None
) -> Recording:
    """Read a recording. Raises `BadRecording`.

    An account has a home feed if it reads in the recording. `progress` gets the number of bytes
    read so far.
    """
    lines = ColumnFile(path, progress)
    number_of = {b"%d" % ident: number for number, ident in enumerate(graph.ids)}
    events = {kind: (array("d"), array("I")) for kind in (b"post", b"read")}
    unknown, last = 0, 0.0
    try:
        for columns in lines.columns():
            problem = _problem(columns, last)
            if problem is not None:
                lines.is_wrong(problem)
                continue
            last = float(columns[0])
            number = number_of.get(columns[2])
            if number is None:
                unknown += 1
                continue
            seconds, accounts = events[columns[1]]
            seconds.append(last)
            accounts.append(number)
    except UNREADABLE as error:
        raise BadRecording(path, f"cannot be read ({reason(error)})") from None
    if lines.malformed.count:
        raise BadRecording(path, lines.malformed)
    (post_seconds, authors), (read_seconds, viewers) = events.values()
    has_feed = bytearray(len(graph))
    for viewer in viewers:
        has_feed[viewer] = True
    return Recording(
        Workload(
            post_seconds=post_seconds,
            authors=authors,
            read_seconds=read_seconds,
            viewers=viewers,
            has_feed=has_feed,
            posts_before=graph.posts,
        ),
        unknown,
    )


def _problem(columns: list[bytes], last_seconds: float) -> str | None:
    """Return the error of a line; None if the line is an event at or after `last_seconds`."""
    if len(columns) != _COLUMNS:
        return f"{len(columns)} columns instead of {_COLUMNS}"
    seconds, kind, account = columns
    if not _SECONDS.fullmatch(seconds):
        text = seconds[:30].decode(errors="replace")
        return f"{text!r} is not a time (seconds, with up to nine decimals)"
    if kind not in (b"post", b"read"):
        return f"{kind[:30].decode(errors='replace')!r} is neither post nor read"
    problem = wrong_id(account)
    if problem is None and float(seconds) < last_seconds:
        return f"{seconds.decode()} is before the line above; sort the file by its first column"
    return problem
