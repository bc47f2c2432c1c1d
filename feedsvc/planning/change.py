"""Change the threshold: judge a change by the guardrails, record it with a forecast, watch it.

A worker checks the watched version every few seconds, and rolls back a version that breaks a limit.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog

from feedsvc.errors import Invalid, Refused, StaleVersion
from feedsvc.planning import forecast, watch
from feedsvc.routing import guardrails, versions
from feedsvc.routing.versions import PolicyChange, PolicyInfo
from feedsvc.store.sql.database import now

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.store import Stores

_log = structlog.get_logger()


def change(
    stores: Stores,
    *,
    promote_at: int,
    demote_at: int,
    rollout_percent: int,
    reason: str,
    changed_by: str,
    if_match: int | None,
    force: bool = False,
) -> PolicyInfo:
    """Add a version with the given thresholds, and return it.

    The forecast that the guardrails judge assumes a rollout to all accounts. Raises `StaleVersion`
    unless `if_match` is the latest version (None accepts any), `Refused` if the change breaks a
    guardrail and is not forced, and `Invalid` unless promote_at ≥ demote_at ≥ 1.
    """
    if not promote_at >= demote_at >= 1:
        raise Invalid(
            "json", "demote_at", f"Must be at least 1 and at most promote_at ({promote_at})."
        )

    def judged() -> PolicyChange:
        expected = forecast.forecast(stores, promote_at, demote_at)
        limits = guardrails.current(stores).guardrails
        broken = forecast.broken(limits, promote_at, demote_at, expected)
        if broken and not force:
            raise Refused([asdict(each) for each in broken])
        return PolicyChange(
            promote_at=promote_at,
            demote_at=demote_at,
            rollout_percent=rollout_percent,
            reason=reason,
            changed_by=changed_by,
            forced=bool(broken),
            predicted=forecast.as_json(expected) if expected else None,
            watch=watch.begin(stores, limits),
        )

    return _add(stores, judged, if_match)


def rollback(
    stores: Stores, *, version: int, reason: str, changed_by: str, if_match: int | None
) -> PolicyInfo:
    """Add a version equal to an old one, rollout included, and return it.

    A rollback is never refused by guardrails and never watched, because it is the way back.
    Raises `StaleVersion`, and `Invalid` for an unknown version.
    """

    def equal_to_old() -> PolicyChange:
        old = versions.numbered(stores, version)
        expected = forecast.forecast(stores, old.promote_at, old.demote_at)
        return PolicyChange(
            **vars(old.lines),
            reason=reason,
            changed_by=changed_by,
            rolled_back_to=version,
            predicted=forecast.as_json(expected) if expected else None,
        )

    return _add(stores, equal_to_old, if_match)


def roll_back_if_broken(stores: Stores) -> bool:
    """Roll back the latest version if it has broken a limit of its watch.

    Returns whether this call added the rollback. Several workers may run this concurrently.
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
            changed_by="guardrail",
            if_match=latest.version,
        )
    except StaleVersion:  # another worker or an operator has added a version meanwhile
        return False
    _log.warning("threshold.rolled_back", version=latest.version, reason=broken)
    return True


def _add(stores: Stores, make: Callable[[], PolicyChange], if_match: int | None) -> PolicyInfo:
    """Make a change from the latest version, and add it.

    A caller that accepts any version never sees `StaleVersion`: the change is made again from the
    version that another caller has added meanwhile.
    """
    while True:
        latest = versions.current(stores).version
        if if_match not in (None, latest):
            raise StaleVersion(latest)
        made = make()
        try:
            return versions.add(stores, made, latest)
        except StaleVersion:
            if if_match is not None:
                raise
