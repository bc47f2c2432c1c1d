"""Learn unit costs from the processor time that the service has counted. Pure except `figures`."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from feedsvc.planning.calibrated import DEFAULT_COSTS
from feedsvc.store.redis import usage
from feedsvc.store.redis.work import Tally
from feedsvc.store.sql import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from feedsvc.planning.costs import UnitCosts
    from feedsvc.store import Stores
    from feedsvc.store.redis.work import Work

_DEFAULT_MARGIN = 0.5
_WINDOW = dt.timedelta(hours=24)


@dataclass(frozen=True)
class Learnt:
    """Unit costs with the half-widths of their 95 % intervals.

    `observations`: the pieces of work behind them, by kind.
    """

    costs: UnitCosts
    margins: UnitCosts
    observations: Mapping[str, int]


def figures(stores: Stores) -> Work:
    """Return the work that all processes have counted in the last 24 hours."""
    now = clock.now(stores.sql)
    return usage.work_between(stores.redis, now - _WINDOW, now + dt.timedelta(minutes=1))


def total(several: Iterable[Work]) -> Work:
    """Add up the work of several services."""
    sums: Work = defaultdict(dict)
    for work in several:
        for kind, tallies in work.items():
            for bucket, tally in tallies.items():
                before = sums[kind].get(bucket, Tally())
                sums[kind][bucket] = Tally(*map(sum, zip(before, tally, strict=True)))
    return dict(sums)


def fit(work: Work) -> Learnt:
    """Return the mean costs of reads and uploads. Every other unit cost is its default."""
    sums = {kind: Tally(*map(sum, zip(*each.values(), strict=True))) for kind, each in work.items()}
    learnt = {
        name: sums[kind].us / sums[kind].pieces
        for kind, name in (("read", "read_us"), ("upload", "upload_us"))
        if kind in sums
    }
    costs = replace(DEFAULT_COSTS, **learnt)
    observations = {kind: tally.pieces for kind, tally in sums.items()}
    return Learnt(costs, costs.share(_DEFAULT_MARGIN), observations)
