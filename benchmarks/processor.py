"""Processor seconds of processes and their children, from /proc: Linux only."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


class Meter:
    """What the named parts have used since `start`."""

    def __init__(self, parts: Mapping[str, Iterable[int]]) -> None:
        """Each part is the processes at its root, whose children count with them."""
        self._parts = {name: list(pids) for name, pids in parts.items()}
        self.start()

    def start(self) -> None:
        """Count from now on."""
        self._at_start = self._seconds()
        self._own_at_start = time.process_time()

    def spent(self) -> dict[str, float]:
        """Seconds by part, and this process's as `driver`."""
        now = self._seconds()
        own = time.process_time() - self._own_at_start
        return {**{name: now[name] - self._at_start[name] for name in now}, "driver": own}

    def _seconds(self) -> dict[str, float]:
        table = _table()
        return {name: sum(map(_of(table), pids)) for name, pids in self._parts.items()}


def seconds_of(pids: Iterable[int]) -> float:
    """What these processes have used so far, exactly; their children not counted."""
    # The number of a process's own clock, as clock_getcpuclockid(3) makes it.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def per_unit(spent: Mapping[str, float], units: float) -> dict[str, float]:
    """Microseconds a unit, by part."""
    return {name: seconds / units * 1e6 for name, seconds in spent.items()}


def _of(table: dict[int, tuple[int, float]]):  # noqa: ANN202 -- a function
    def seconds(pid: int) -> float:
        children = (child for child, (parent, _) in table.items() if parent == pid)
        return table.get(pid, (0, 0.0))[1] + sum(map(seconds, children))

    return seconds


def _table() -> dict[int, tuple[int, float]]:
    """Parent and seconds of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(") ")[2].split()
        except OSError:  # it has ended
            continue
        found[int(path.parent.name)] = (
            int(fields[1]),
            (int(fields[11]) + int(fields[12])) * _TICK_SECONDS,
        )
    return found
