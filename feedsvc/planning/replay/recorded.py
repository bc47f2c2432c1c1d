"""A recording: a file of lines `seconds post|read account`, in the order of time. The format is in `docs/threshold.md`."""

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

    from feedsvc.graph.column_file import Malformed
    from feedsvc.planning.replay.follow_graph import FollowGraph

_SECONDS = re.compile(rb"[0-9]{1,12}(\.[0-9]{1,9})?")
_COLUMNS = 3


class RecordingUnreadable(FeedsvcError):
    """The file cannot be read to its end."""

    def __init__(self, path: Path, why: BaseException) -> None:
        super().__init__(f"{path} cannot be read: {reason(why)}; nothing was simulated")


class RecordingMalformed(FeedsvcError):
    """The file has lines that are no events."""

    def __init__(self, path: Path, malformed: Malformed) -> None:
        self.malformed = malformed
        super().__init__(f"{path}: {malformed}; nothing was simulated")


@dataclass(frozen=True)
class Recording:
    """What a file holds. `unknown`: events of accounts that are not in the crowd, which are left out."""

    workload: Workload
    unknown: int


def read(
    path: Path, crowd: FollowGraph, progress: Callable[[int], None] = lambda _: None
) -> Recording:
    """The recording; `progress` gets the bytes read so far. Raises `RecordingUnreadable` and `RecordingMalformed`.

    Feeds exist of the accounts that read in it.
    """
    reading = _RecordingReader(path, crowd, progress)
    try:
        reading.run()
    except UNREADABLE as error:
        raise RecordingUnreadable(path, error) from None
    if reading.lines.malformed.count:
        raise RecordingMalformed(path, reading.lines.malformed)
    return Recording(reading.workload(), reading.unknown)


class _RecordingReader:
    """One pass over a file."""

    def __init__(self, path: Path, crowd: FollowGraph, progress: Callable[[int], None]) -> None:
        self.lines = ColumnFile(path, progress)
        self.unknown = 0
        self._crowd = crowd
        self._number_of = {b"%d" % ident: number for number, ident in enumerate(crowd.ids)}
        self._events = {kind: (array("d"), array("I")) for kind in (b"post", b"read")}

    def run(self) -> None:
        """Read the whole file."""
        last = 0.0
        for parts in self.lines.columns():
            why = _wrong(parts)
            if why is None and float(parts[0]) < last:
                why = f"{parts[0].decode()} is before the line above; sort the file by its first column"
            if why is not None:
                self.lines.is_wrong(why)
                continue
            last = float(parts[0])
            self._keep(last, parts[1], parts[2])

    def _keep(self, at: float, kind: bytes, account: bytes) -> None:
        number = self._number_of.get(account)
        if number is None:
            self.unknown += 1
            return
        seconds, accounts = self._events[kind]
        seconds.append(at)
        accounts.append(number)

    def workload(self) -> Workload:
        """What was read."""
        (post_seconds, authors), (read_seconds, readers) = self._events.values()
        has_feed = bytearray(len(self._crowd))
        for reader in readers:
            has_feed[reader] = True
        return Workload(
            post_seconds=post_seconds,
            authors=authors,
            read_seconds=read_seconds,
            readers=readers,
            has_feed=has_feed,
            posts_before=self._crowd.posts,
        )


def _wrong(parts: list[bytes]) -> str | None:
    """What is wrong with a line, if anything is."""
    if len(parts) != _COLUMNS:
        return f"{len(parts)} columns instead of {_COLUMNS}"
    seconds, kind, account = parts
    if not _SECONDS.fullmatch(seconds):
        return f"{seconds[:30].decode(errors='replace')!r} is not a time (seconds, with up to nine decimals)"
    if kind not in (b"post", b"read"):
        return f"{kind[:30].decode(errors='replace')!r} is neither post nor read"
    return wrong_id(account)
