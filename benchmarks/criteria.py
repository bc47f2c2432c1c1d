"""The criteria: each figure with the bound that it must reach and the bound that it aims at.

A figure is a ratio within one run, unless it has a unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Criterion:
    """One criterion, a row of the summary; `more`: a higher value is better.

    The median of the values is judged by `must` and `aim`. If `most` is given, the highest value
    must not be above it.
    """

    name: str
    meaning: str
    must: float
    aim: float
    more: bool = False
    unit: str = ""
    most: float | None = None

    def verdict(self, values: Sequence[float]) -> str:
        """Return `aim met`, `met` or `missed`."""
        value = median(values)
        if self.most is not None and max(values) > self.most:
            return "missed"
        if self._reaches(value, self.aim):
            return "aim met"
        return "met" if self._reaches(value, self.must) else "missed"

    def judgement(self, values: Sequence[float]) -> str:
        """Return the verdict with the bounds and the unit."""
        bounds = f"must {self.must:g}, aim {self.aim:g} {self.unit}".rstrip()
        most = "" if self.most is None else f", at most {self.most:g}"
        return f"{self.verdict(values)}; {bounds}{most}"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.more else value <= bound


_GRAPHS = {
    "G1": "friendships of a college",
    "G2": "retweets",
    "G4": "a million accounts",
    "G5": "twice the near cache",
}

CRITERIA = [
    Criterion("P1", "deliveries/s through Celery ÷ the limit", 0.6, 0.9, more=True),
    Criterion("P2", "deliveries/s ÷ the tutorial's task", 25, 45, more=True),
    Criterion("P2 tuned", "the same, with a unix socket and hiredis", 25, 45, more=True),
    Criterion("P3", "deliveries/s ÷ Stream-Framework's Redis fan-out", 25, 40, more=True),
    Criterion("P3 doubled", "the same, split by hand over two processes", 25, 40, more=True),
    Criterion("P4", "a post to 1.5 M feeds ÷ the limit's time", 1.7, 1.2),
    Criterion("P5", "read p99 during P4 ÷ idle", 5, 2),
    Criterion("P6", "upload p99 with 1.5 M followers ÷ with none", 1.2, 1.05),
    Criterion("P7", "first pages/s ÷ a constant answer of that size", 0.3, 0.5, more=True),
    Criterion("P8", "read p50 following 500 celebrities ÷ none", 1.5, 1.1),
    Criterion("P9", "a page far below the cap ÷ the first page", 8, 3),
    Criterion("P10 fresh", "bytes per feed entry at the cap", 10.5, 10, unit="B"),
    Criterion("P10 turned over", "the same after ten turnovers", 12, 10.5, unit="B"),
    Criterion("P10 resident", "resident memory then, per entry", 12, 10.5, unit="B"),
    Criterion("P11", "posts to 20 followers/s ÷ no-op tasks/s", 0.6, 1, more=True),
    Criterion("P12 1 %", "W1, best threshold ÷ best pure, 1 % active", 1, 0.7),
    Criterion("P12 10 %", "the same, 10 % active", 1, 0.7),
    Criterion("P12 50 %", "the same, 50 % active", 1, 0.7),
    Criterion("P12 100 %", "the same, all active", 1, 0.7),
    Criterion(
        "P13 deliveries", "cost per delivery, 10 k → 1 M accounts ÷ the limit's growth", 1.3, 1
    ),
    Criterion("P13 reads", "cost per read, 10 k → 1 M accounts ÷ the limit's growth", 1.3, 1),
    Criterion("P14 sparse", "rebuild of a cold feed, 500 quiet followees", 50, 15, unit="ms"),
    Criterion("P14 talkative", "the same, 500 talkative followees", 50, 15, unit="ms"),
    Criterion("P15", "deliveries per Valkey processor second, 3 nodes ÷ 1", 0.9, 1, more=True),
    Criterion(
        "P16 visible",
        "an upload behind 10,000 fan-outs, in the last of 1,000 feeds",
        1,
        0,
        unit="s",
    ),
    Criterion("P16 read", "read p50 behind that backlog ÷ idle", 2, 1.2),
    Criterion("P17 half", "a read of W1, near cache of half of what it needs ÷ all", 1.5, 1.2),
    Criterion("P17 eighth", "the same, an eighth of what it needs ÷ all", 3, 2),
    *(
        Criterion(f"{graph} {part}", f"{meaning}, {about}", 0.15, 0.1, most=most)
        for graph, about in _GRAPHS.items()
        for part, meaning, most in (
            ("push", "error of the predicted processor time of pushing", 0.35),
            ("pull", "the same for pulling", 0.25),
            ("lists", "error of the predicted lists merged for a read", 0.25),
        )
    ),
    *(
        Criterion(
            f"{graph} recommended",
            f"cost at the recommended threshold ÷ best, {about}",
            1.1,
            1.03,
            most=1.1,
        )
        for graph, about in _GRAPHS.items()
    ),
    Criterion("Replay", "10 M events over 1 M accounts, two thresholds", 120, 60, unit="s"),
]
BY_NAME = {criterion.name: criterion for criterion in CRITERIA}
