"""Counters for Prometheus. `docs/metrics.md` documents each; a test compares the two.

Where `PROMETHEUS_MULTIPROC_DIR` is set, as `up` does, the counts of all its processes are added up.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

_FILE_BYTES = 1 << 16
_ENTRY_BYTES = 32  # an entry needs at most so many beside its key
_ATTEMPTS = 5


class CountFile(MmapedDict):
    """The counts of one process, in a file that the process maps. Counting never fails.

    The library maps a file with holes. On a full disk the first write into a hole ends the process
    with SIGBUS. Here every byte of the file is written before it is mapped. Without space the
    counts go on in memory, where only this process sees them.

    A new process continues the file of one that has ended. So files do not pile up when processes
    come and go, and no count is lost.
    """

    _f: Any  # the open file; None in memory

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        """Map the file of this process."""
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
        """Double the file, or go on in memory."""
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
    """Give the file of a process that has ended to this one. Of two takers one gets it."""
    kind = path.name.partition("_")[0]
    if kind == "gauge" or path.exists():  # a gauge tells of its process only
        return
    for other in path.parent.glob(f"{kind}_*.db"):
        if _has_ended(other.stem.rpartition("_")[2]):
            with suppress(OSError):
                other.rename(path)
                return


def _has_ended(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _fill(path: Path) -> None:
    """Make the file, with every byte in its place. Raises `OSError` without leaving a part.

    It gets its name when it is whole: `/metrics` of another process may read it at any moment.
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


values.MmapedDict = CountFile  # type: ignore[attr-defined]


class Metrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.http_requests = self._counter(
            "http_requests",
            "Requests answered, by method, route and status.",
            "method",
            "route",
            "status",
        )
        self.posts_published = self._counter(
            "posts_published", "Posts uploaded; replays are not counted."
        )
        self.feed_pages = self._counter("feed_pages", "Pages of home feeds answered.")
        self.sweeps = self._counter("sweeps", "Sweeps that a worker has ended.")
        self.audit_feeds = self._counter(
            "audit_feeds", "Stored feeds that the audit has compared with the database."
        )
        self.audit_missing = self._counter(
            "audit_missing", "Posts that the audit found missing from a feed."
        )
        self.audit_extra = self._counter(
            "audit_extra", "Posts that the audit found in a feed in which they do not belong."
        )
        self.audit_twice = self._counter(
            "audit_twice", "Ids that the audit found more than once in a stored feed."
        )

    def exposition(self) -> bytes:
        """Return all counts in the Prometheus text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        for _ in range(_ATTEMPTS):
            # A file may change hands while it is read.
            with suppress(FileNotFoundError):
                return self._of_all_processes()
        return self._of_all_processes()

    def _of_all_processes(self) -> bytes:
        all_processes = CollectorRegistry()
        MultiProcessCollector(all_processes)  # type: ignore[no-untyped-call]
        return generate_latest(all_processes)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"feedsvc_{name}", description, labels, registry=self.registry)
