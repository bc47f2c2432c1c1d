"""Comparing stored feeds with the database, and repairing those that differ.

Only what two looks in a row have found is a difference: what is under way between the stores is gone by the second.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import structlog

from feedsvc.cache import home_feeds
from feedsvc.graph import sample as sampling
from feedsvc.graph.accounts import require
from feedsvc.inspection import difference
from feedsvc.inspection.compare import Found, Moved, NotStored, compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.inspection.difference import Difference
    from feedsvc.store import Stores
    from feedsvc.store.redis.lists import FloorList

_log = structlog.get_logger()

# How often a feed is looked at in one audit; one that changes all the time is left to the next.
_LOOKS = 4


@dataclass
class Audit:
    """How many accounts were drawn, how many of them had a stored feed, what was wrong with those, and whose were thrown away.

    `twice` counts ids that a stored feed held more than once: no difference, because readers drop repeats.
    """

    accounts: int
    stored: int = 0
    missing: list[Difference] = field(default_factory=list)
    extra: list[Difference] = field(default_factory=list)
    twice: int = 0
    repaired: list[int] = field(default_factory=list)

    @property
    def differences(self) -> list[Difference]:
        """All of them."""
        return self.missing + self.extra


def audit(
    stores: Stores, sample: int | None, progress: Callable[[int], None] = lambda _: None
) -> Audit:
    """Compare the stored feeds of a random sample of accounts (None: of all) with the database, and repair them."""
    viewers = sampling.draw(stores, sample)
    result = Audit(len(viewers))
    for viewer in viewers:
        found = _look_again(stores, viewer)
        if found is not None:
            result.stored += 1
            _note(stores, result, viewer, found)
        progress(1)
    return result


def rebuild(stores: Stores, viewer: int) -> FloorList:
    """Throw the stored feed of an account away and read it from the database again. Raises `NotFound`."""
    with stores.sql.reading() as connection:
        require(connection, viewer)
    stores.redis.delete(stores.keys.homefeed(viewer), stores.keys.relations(viewer))
    return home_feeds.rebuild(stores, viewer)


def _look_again(stores: Stores, viewer: int) -> Found | None:
    """What two looks found, or one that found nothing; None if no feed is stored."""
    earlier = None
    for _ in range(_LOOKS):
        try:
            found = compare(stores, viewer)
        except NotStored:
            return None
        except Moved:
            continue
        if earlier is not None:
            return earlier.again(found)
        if not found.missing and not found.extra:
            return found
        earlier = found
    return Found()


def _note(stores: Stores, result: Audit, viewer: int, found: Found) -> None:
    """Enter what was found, log it, and repair it."""
    missing = [
        difference.describe(stores, viewer, post_id, "missing") for post_id in sorted(found.missing)
    ]
    extra = [
        difference.describe(stores, viewer, post_id, "extra") for post_id in sorted(found.extra)
    ]
    result.missing += missing
    result.extra += extra
    result.twice += len(found.twice)
    for each in missing + extra:
        _log.error("feed.audit_difference", **asdict(each))
    if missing or extra or found.twice:
        difference.repair(stores, viewer, missing + extra)
        result.repaired.append(viewer)
