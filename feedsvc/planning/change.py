"""Changing the threshold: judged by the guardrails, recorded with what is expected of it, and watched."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from feedsvc.errors import Invalid, Refused, StaleVersion
from feedsvc.planning import forecast, guardrail_check, watch
from feedsvc.routing import guardrails, versions
from feedsvc.routing.versions import PolicyChange, PolicyInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.store import Stores


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
    """Set a new version, provided that `if_match` is still the current one (None: whatever is). Returns it.

    It is judged as if it were rolled out to every account. Raises `StaleVersion`, `Refused` if it breaks a guardrail and is not
    forced, or `Invalid` unless promote_at ≥ demote_at ≥ 1.
    """
    if not promote_at >= demote_at >= 1:
        raise Invalid(
            "json", "demote_at", f"Must be at least 1 and at most promote_at ({promote_at})."
        )

    def entry() -> PolicyChange:
        predicted, expected = forecast.of(stores, promote_at, demote_at)
        set_limits = guardrails.current(stores).guardrails
        broken = guardrail_check.broken(set_limits, promote_at, demote_at, expected)
        if broken and not force:
            raise Refused([asdict(each) for each in broken])
        return PolicyChange(
            promote_at=promote_at,
            demote_at=demote_at,
            rollout_percent=rollout_percent,
            reason=reason,
            changed_by=changed_by,
            forced=bool(broken),
            predicted=predicted,
            watch=watch.begin(stores, set_limits),
        )

    return _add(stores, entry, if_match)


def rollback(
    stores: Stores, *, version: int, reason: str, changed_by: str, if_match: int | None
) -> PolicyInfo:
    """Set a new version equal to an old one, for as many accounts. Never refused, and not watched: it is the way back.

    Raises `StaleVersion`, and `Invalid` for an unknown version.
    """

    def entry() -> PolicyChange:
        old = versions.numbered(stores, version)
        predicted, _ = forecast.of(stores, old.promote_at, old.demote_at)
        return PolicyChange(
            **vars(old.lines),
            reason=reason,
            changed_by=changed_by,
            rolled_back_to=version,
            predicted=predicted,
        )

    return _add(stores, entry, if_match)


def _add(stores: Stores, entry: Callable[[], PolicyChange], if_match: int | None) -> PolicyInfo:
    """Add what is made of the current version; for a caller who takes any, again if that has changed meanwhile."""
    while True:
        seen = versions.current(stores).version
        if if_match not in (None, seen):
            raise StaleVersion(seen)
        made = entry()
        try:
            return versions.add(stores, made, seen)
        except StaleVersion:
            if if_match is not None:
                raise
