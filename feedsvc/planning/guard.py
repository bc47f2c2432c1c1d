"""Check the running system every few seconds, in a worker, and act on its measurements.

The guard adjusts load shedding, rolls back a change that breaks a limit of its watch, and records
the outcome of each version. Workers may run it at the same time: each step is a compare-and-set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from feedsvc.errors import StaleVersion
from feedsvc.planning import outcome, watch
from feedsvc.planning.change import rollback
from feedsvc.routing import load_shedding, versions
from feedsvc.store.sql.database import now

if TYPE_CHECKING:
    from feedsvc.store import Stores

_log = structlog.get_logger()

CHANGED_BY = "guardrail"


def check(stores: Stores) -> None:
    """Run all three checks once."""
    load_shedding.adjust(stores)
    roll_back_if_broken(stores)
    outcome.measure_due(stores)


def roll_back_if_broken(stores: Stores) -> bool:
    """Roll back the latest version if it has broken a limit of its watch.

    Returns whether this call added the rollback.
    """
    latest = versions.current(stores)
    if latest.watch is None or now() > latest.watch.until:
        return False
    broken = watch.broken(stores, latest.watch, latest.changed_at)
    if broken is None:
        return False
    try:
        rollback(
            stores,
            version=latest.version - 1,
            reason=broken,
            changed_by=CHANGED_BY,
            if_match=latest.version,
        )
    except StaleVersion:  # another worker or an operator has added a version meanwhile
        return False
    _log.warning("threshold.rolled_back", version=latest.version, reason=broken)
    return True
