"""A file of counts for the Prometheus client library. Counting works on a full disk, too."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

_FILE_BYTES = 1 << 16
_ENTRY_BYTES = 32  # the most bytes that an entry takes in addition to its key


class CountFile(MmapedDict):
    """The counts of one process, in a memory-mapped file. Counting never fails.

    The library maps a sparse file. On a full disk the first write to a missing block kills the
    process with SIGBUS. So this class writes every byte of the file before it maps the file. If the
    disk is full, the counts continue in memory, where only this process sees them.

    A new process continues the file of a process that has ended. So no count is lost, and files do
    not pile up when processes restart.
    """

    _f: Any  # the open file; None in memory

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        """Map the file of this process, or memory if the file cannot be written."""
        try:
            _take_over(Path(filename))
            _fill(Path(filename))
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
        except OSError:
            self._f = None
            self._fname = filename
            self._positions: dict[str, int] = {}
            self._used, self._capacity = 8, _FILE_BYTES
            self._m = mmap.mmap(-1, self._capacity)

    def _init_value(self, key: str) -> None:
        while self._used + len(key.encode()) + _ENTRY_BYTES > self._capacity:
            self._grow()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _grow(self) -> None:
        """Double the size of the file, or continue in memory."""
        counts = self._m[:]
        self._capacity *= 2
        if self._f is not None:
            with suppress(OSError):
                _append_zeros(self._f.fileno(), self._capacity - len(counts))
                self._m = mmap.mmap(self._f.fileno(), self._capacity)
                return
            self._f.close()
        self._f = None
        self._m = mmap.mmap(-1, self._capacity)
        self._m[: len(counts)] = counts


def _take_over(path: Path) -> None:
    """Rename the file of an ended process to this process's name. Only one process can succeed.

    The value of a gauge ends with its process. So the gauges of ended processes are removed.
    """
    if path.exists():
        return
    kind = path.name.partition("_")[0]
    for other in path.parent.glob(f"{kind}_*.db"):
        if _has_ended(other.stem.rpartition("_")[2]):
            with suppress(OSError):
                if kind != "gauge":
                    other.rename(path)
                    return
                other.unlink()


def _has_ended(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):  # another user's process, or not the name of a process
        pass
    return False


def _fill(path: Path) -> None:
    """Create the file with every byte written, unless it exists. Raises `OSError` on a full disk.

    The file gets its name when it is complete, because `/metrics` of another process may read it at
    any moment. A partial file is removed.
    """
    if path.exists():
        return
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        _append_zeros(descriptor, _FILE_BYTES)
        new.rename(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _append_zeros(descriptor: int, count: int) -> None:
    while count:
        count -= os.write(descriptor, bytes(count))
