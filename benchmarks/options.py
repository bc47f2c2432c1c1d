"""What a measurement is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How often, and how large: at a scale of 1 as the criteria say, below that a smoke run."""

    rounds: int
    scale: float = 1.0

    def scaled(self, size: int, least: int = 1) -> int:
        """A size, shrunk."""
        return max(least, round(size * self.scale))
