"""Processor seconds of processes, from /proc (Linux only), and the processor's current speed."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


class Meter:
    """Measures the processor seconds of named groups of processes since `start`."""

    def __init__(self, groups: Mapping[str, Iterable[int]]) -> None:
        """Take each group as process ids; the descendants of a process count with it."""
        self._groups = {name: list(pids) for name, pids in groups.items()}
        self.start()

    def start(self) -> None:
        """Count from now on."""
        self._at_start = self._seconds()
        self._own_at_start = time.process_time()

    def spent(self) -> dict[str, float]:
        """Return the seconds of each group since `start`, and those of this process as `driver`."""
        now = self._seconds()
        own = time.process_time() - self._own_at_start
        return {**{name: now[name] - self._at_start[name] for name in now}, "driver": own}

    def _seconds(self) -> dict[str, float]:
        table = _process_table()
        return {
            name: sum(_seconds_with_descendants(table, pid) for pid in pids)
            for name, pids in self._groups.items()
        }


def seconds_of(pids: Iterable[int]) -> float:
    """Return the processor seconds that processes have used so far, without their children.

    The resolution is that of clock_getcpuclockid(3), far below the 10 ms ticks of /proc.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def per_unit(spent: Mapping[str, float], units: float) -> dict[str, float]:
    """Return microseconds per unit of work, by group."""
    return {name: seconds / units * 1e6 for name, seconds in spent.items()}


class Speed:
    """Samples the current speed of this processor by timing a fixed piece of computing.

    On a shared machine the speed changes by a fifth within ten seconds. A measurement of one period
    and a prediction from another are brought to one speed by the time of this piece in each. Its
    memory is small enough to stay in the processor's nearest cache, whatever ran before.
    """

    _TEXTS, _REPEATS = 200, 5

    def __init__(self) -> None:
        """Prepare the piece of computing, of about 0.1 ms."""
        source = random.Random(1)
        self._texts = [str(source.getrandbits(62)) for _ in range(self._TEXTS)]
        self._samples: list[float] = []

    def sample(self) -> float:
        """Time the piece a few times; return the processor seconds that the sample itself took.

        The first repetition fetches the data into the cache and does not count.
        """
        began = time.process_time()
        self._compute()
        counted_from = time.process_time()
        for _ in range(self._REPEATS):
            self._compute()
        ended = time.process_time()
        self._samples.append((ended - counted_from) / self._REPEATS)
        return ended - began

    def take(self) -> float:
        """Return the mean seconds of the samples since the last call; needs at least one sample."""
        samples, self._samples = self._samples, []
        return mean(samples)

    def _compute(self) -> None:
        json.dumps({text: int(text) % 1_000 for text in sorted(self._texts)})


def _seconds_with_descendants(table: dict[int, tuple[int, float]], pid: int) -> float:
    children = (child for child, (parent, _) in table.items() if parent == pid)
    own = table.get(pid, (0, 0.0))[1]
    return own + sum(_seconds_with_descendants(table, child) for child in children)


def _process_table() -> dict[int, tuple[int, float]]:
    """Return parent and processor seconds of every process."""
    table = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(") ")[2].split()
        except OSError:  # the process has ended
            continue
        ticks = int(fields[11]) + int(fields[12])
        table[int(path.parent.name)] = (int(fields[1]), ticks * _TICK_SECONDS)
    return table
