"""Learn unit costs from the processor time that a service has counted. Pure.

Every bucket of counted work (`store/redis/work.py`) is an equation: its processor time is the sum
of its amounts of work times their unit costs. The unit costs are the least-squares solution of all
equations, drawn towards the defaults (ridge regression). So a unit cost without counted work keeps
its default, and the default hardly counts beside much work.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, fields
from operator import mul
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from feedsvc.planning.costs import UnitCosts, list_units

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from feedsvc.store.redis.work import Work

# The processor time of this process's thread, in µs, for each unit of work; measured on 2 cores
# (AMD EPYC), Python 3.11.7 (docs/evidence/threshold.md).
THREAD_US = {
    "upload_us": 1_550.0,
    "message_us": 900.0,
    "take_off_us": 115.0,
    "micro_batch_us": 1_850.0,
    "small_post_us": 95.0,
    "link_us": 2_400.0,
    "follower_us": 0.25,
    "read_us": 200.0,
    "find_us": 5.0,
    "look_up_us": 1.0,
    "first_list_us": 18.0,
    "list_us": 1.2,
    "fetch_us": 130.0,
    "fetched_list_us": 15.0,
    "learn_us": 46.0,
}
# The cost of each unit outside the measured thread: in Redis, in the broker, and in a worker's
# process around its task. Push and skip are work of Redis alone. A page that merges lists needs
# less of its home list, and the time of its merge includes reading the clock.
ELSEWHERE_US = {
    "upload_us": 200.0,
    "message_us": 130.0,
    "take_off_us": 15.0,
    "micro_batch_us": 1_950.0,
    "small_post_us": 10.0,
    "link_us": 1_950.0,
    "read_us": 25.0,
    "first_list_us": -5.0,
    "fetch_us": 25.0,
    "fetched_list_us": 5.0,
    "push_us": 1.1,
    "skip_us": 0.5,
}
# PostgreSQL's processor time for each µs of a thread that queries it. SQLite works in the thread.
POSTGRESQL_SHARE = 0.4
_WITH_SQL = ("upload_us", "take_off_us", "micro_batch_us", "link_us")
_NAMES = tuple(THREAD_US)

# Half-widths of 95 % intervals, in standard errors.
_Z = 1.96
# On another machine, each unit cost is between half and one and a half times its default. This is
# an assumption, not a measurement.
_DEFAULT_MARGIN = 0.5
# How much a default weighs beside a piece of work.
_DEFAULT_WEIGHT = 0.1
# The mean of a bucket is off by this share, however many pieces it has: the equations are models.
_MISFIT = 0.1
# With fewer pieces of work of reads or of fan-outs the unit costs are not learnt.
_ENOUGH_READS, _ENOUGH_FAN_OUTS = 100, 20


@dataclass(frozen=True)
class Learnt:
    """Unit costs with the half-widths of their 95 % intervals.

    `observations`: the counted pieces of work behind them, by kind. `calibrated_at` and `machine`:
    of the calibration whose work is among it, if there is one.
    """

    costs: UnitCosts
    margins: UnitCosts
    observations: Mapping[str, int]
    calibrated_at: dt.datetime | None = None
    machine: str | None = None

    @property
    def is_default(self) -> bool:
        """Return whether too little work was counted to replace the defaults."""
        fan_outs = self.observations.get("link", 0) + self.observations.get("micro-batch", 0)
        return self.observations.get("read", 0) < _ENOUGH_READS or fan_outs < _ENOUGH_FAN_OUTS


class _Equation(NamedTuple):
    """A bucket: a piece's mean amounts of work by unit cost, its mean µs, and how many pieces."""

    amounts: dict[str, float]
    us: float
    pieces: int


def fit(*several: Work, sql_share: float = 0.0) -> Learnt:
    """Fit the unit costs to the work of several times or services.

    `sql_share`: the database server's processor time for each µs of a thread that queries it.

    If this machine is slower than the machine of the defaults, it is slower at everything. So a
    first fit finds the pace of this machine, the median ratio of its unit costs to the defaults. A
    second fit has the defaults in this pace.
    """
    equations = [equation for work in several for equation in _equations(work)]
    pace = _pace(equations)
    thread, errors = _solve(equations, {name: us * pace for name, us in THREAD_US.items()})
    elsewhere = {name: us * pace for name, us in ELSEWHERE_US.items()}
    for name in _WITH_SQL:
        elsewhere[name] += sql_share * thread[name]
    costs, margins = dict[str, float](), dict[str, float]()
    for name in (field.name for field in fields(UnitCosts)):
        other = elsewhere.get(name, 0.0)
        costs[name] = max(0.0, thread.get(name, 0.0) + other)
        margin = math.hypot(errors.get(name, 0.0), _DEFAULT_MARGIN * other)
        margins[name] = min(margin, _DEFAULT_MARGIN * costs[name])
    costs["read_us"] += thread["find_us"]
    return Learnt(UnitCosts(**costs), UnitCosts(**margins), _observations(several))


def _observations(several: Iterable[Work]) -> Counter[str]:
    """Count the pieces of work by kind."""
    observations = Counter[str]()
    for work in several:
        for kind, tallies in work.items():
            observations[kind] += sum(tally.pieces for tally in tallies.values())
    return observations


def _pace(equations: Sequence[_Equation]) -> float:
    """Return how much slower than the machine of the defaults this one is."""
    known = {name for each in equations for name, amount in each.amounts.items() if amount}
    thread, _ = _solve(equations, THREAD_US)
    return median([thread[name] / THREAD_US[name] for name in sorted(known)] or [1.0])


def _equations(work: Work) -> Iterator[_Equation]:
    """Yield one equation for each bucket. The pieces of a bucket are alike."""
    for kind, tallies in work.items():
        for tally in tallies.values():
            if tally.pieces:
                size, extra, us = (each / tally.pieces for each in tally[1:])
                yield _Equation(_amounts(kind, size, extra), us, tally.pieces)


def _amounts(kind: str, size: float, extra: float) -> dict[str, float]:
    """Return the work of a piece by unit cost."""
    amounts = {
        "read": {"read_us": 1.0},
        "merge": {
            "find_us": 1.0,
            "look_up_us": float(extra > 0),
            "first_list_us": float(size > 0),
            "list_us": list_units(size, extra),
        },
        "fetch": {"fetch_us": 1.0, "fetched_list_us": size},
        "upload": {"upload_us": 1.0},
        "enqueue": {"message_us": 1.0},
        "link": {"link_us": 1.0, "follower_us": size},
        "micro-batch": {"micro_batch_us": 1.0, "small_post_us": size, "follower_us": extra},
        "take-off": {"take_off_us": size},
    }
    return amounts.get(kind, {})


def _solve(
    equations: Iterable[_Equation], defaults: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the unit costs, and the half-widths of their 95 % intervals.

    All amounts and costs are relative to the defaults. A default weighs a tenth of one piece of
    work. A bucket weighs more with more pieces, up to the weight of a relative error of `_MISFIT`.
    """
    size, precision = len(_NAMES), _DEFAULT_WEIGHT
    matrix = [[precision * (row == column) for column in range(size)] for row in range(size)]
    right = [precision] * size
    for each in equations:
        expected = [each.amounts.get(name, 0.0) * defaults[name] for name in _NAMES]
        scale = max(sum(expected), each.us)
        if not sum(expected):
            continue
        weight = 1 / (scale**2 * (_MISFIT**2 + 1 / each.pieces))
        for row, one in enumerate(expected):
            right[row] += weight * one * each.us
            for column, other in enumerate(expected):
                matrix[row][column] += weight * one * other
    inverse = _inverse(matrix)
    found, errors = dict[str, float](), dict[str, float]()
    for at, name in enumerate(_NAMES):
        part = max(0.0, sum(map(mul, inverse[at], right)))
        found[name] = part * defaults[name]
        errors[name] = min(_Z * math.sqrt(inverse[at][at]), _DEFAULT_MARGIN) * defaults[name]
    return found, errors


def _inverse(matrix: list[list[float]]) -> list[list[float]]:
    """Return the inverse of a positive definite matrix, by Gauss and Jordan."""
    size = len(matrix)
    rows = [
        [*row, *(float(number == column) for column in range(size))]
        for number, row in enumerate(matrix)
    ]
    for at in range(size):
        pivot = [value / rows[at][at] for value in rows[at]]
        rows = [
            pivot
            if number == at
            else [value - row[at] * part for value, part in zip(row, pivot, strict=True)]
            for number, row in enumerate(rows)
        ]
    return [row[size:] for row in rows]


# The unit costs of a service that has counted nothing.
DEFAULTS = fit({})
