"""What is looked at all the time, in a worker: relief from overload, the roll-back of a change that went wrong, the record's figures.

Any number of workers may look at once: each step is a compare-and-set.
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


def look(stores: Stores) -> None:
    """Look once."""
    load_shedding.adjust(stores)
    roll_back_if_broken(stores)
    outcome.fill_in(stores)


def roll_back_if_broken(stores: Stores) -> bool:
    """Roll the current version back if it is watched and has broken a limit; whether this look did."""
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
    except StaleVersion:  # another look was faster, or an operator
        return False
    _log.warning("threshold.rolled_back", version=latest.version, reason=broken)
    return True
