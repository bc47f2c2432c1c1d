"""An account's followers by the million, and what asks for their feeds: the room that P4, P5, P6 and P16 share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import load

if TYPE_CHECKING:
    from benchmarks.service import Bench, Pool


@dataclass(frozen=True)
class Crowd:
    """The filled service, its web server, and what its readers ask for."""

    bench: Bench
    port: int
    web: Pool
    followers: int
    reads: list[str]
    rate: float

    def reading(self, seconds: float) -> load.Plan:
        """Open-loop reads of first pages of 20, at a fifth of the peak rate."""
        return load.Plan(self.port, self.reads, seconds, self.rate)
