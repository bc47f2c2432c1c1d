"""The number of connections that each process of one server holds.

The processes accept from the same sockets. One that holds more connections than another lets the
other accept first. Otherwise the first to wake can take all connections of a client's pool.
"""

from __future__ import annotations

import mmap
import os
import tempfile

_BYTES = 4
_NOT_SERVING = 2**32 - 1


class Shares:
    """One number for each process, in memory that all of them share."""

    def __init__(self, descriptor: int, processes: int) -> None:
        """Map the file that `make_file` has made."""
        self._memory = mmap.mmap(descriptor, processes * _BYTES)
        self._connections = memoryview(self._memory).cast("I")

    def set(self, index: int, connections: int) -> None:
        """Store the number of connections of a process."""
        self._connections[index] = connections

    def stop(self, index: int) -> None:
        """Note that a process accepts no connections."""
        self._connections[index] = _NOT_SERVING

    def lowest(self) -> int:
        """Return the lowest number of connections of a process that serves."""
        return min(self._connections)

    @property
    def is_anyone_serving(self) -> bool:
        """Return whether a process accepts connections."""
        return self.lowest() != _NOT_SERVING


def make_file(processes: int) -> int:
    """Return the descriptor of a file without a name, in which no process serves yet."""
    with tempfile.TemporaryFile() as file:
        file.write(b"\xff" * _BYTES * processes)
        file.flush()
        return os.dup(file.fileno())
