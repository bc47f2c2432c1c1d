"""Change the threshold: judge a change by the guardrails, record it with a forecast, watch it.

No guardrail applies until an operator sets it. A change that breaks one is refused unless it is
forced. A worker checks the watched version every few seconds, and rolls back a version that breaks
a limit.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import structlog

from feedsvc.errors import Invalid, Refused, StaleVersion
from feedsvc.formats import rfc3339
from feedsvc.planning import watch
from feedsvc.planning.inputs import NoSurvey
from feedsvc.planning.preview import Figure, Preview, in_words, preview
from feedsvc.routing import guardrails, versions
from feedsvc.routing.versions import PolicyChange, PolicyInfo
from feedsvc.store.sql import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feedsvc.routing.guardrails import Guardrails
    from feedsvc.store import Stores

_log = structlog.get_logger()


@dataclass(frozen=True)
class Broken:
    """A limit that a change would break.

    `value` is None if the cost model has no figure to judge by, or a figure without bound.
    """

    guardrail: str
    limit: float
    value: float | None
    detail: str


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

    The guardrails judge a forecast that assumes a rollout to all accounts.
    Raises `Invalid` unless promote_at ≥ demote_at ≥ 1.
    Raises `StaleVersion` unless `if_match` is the latest version. None accepts any version.
    Raises `Refused` if the change breaks a guardrail and is not forced.
    """
    if not promote_at >= demote_at >= 1:
        raise Invalid(
            "json", "demote_at", f"Must be at least 1 and at most promote_at ({promote_at})."
        )

    def judged() -> PolicyChange:
        expected = forecast(stores, promote_at, demote_at)
        limits = guardrails.current(stores).guardrails
        violations = broken_guardrails(limits, promote_at, demote_at, expected)
        if violations and not force:
            raise Refused([asdict(each) for each in violations])
        return PolicyChange(
            promote_at=promote_at,
            demote_at=demote_at,
            rollout_percent=rollout_percent,
            reason=reason,
            changed_by=changed_by,
            forced=bool(violations),
            predicted=as_json(expected) if expected else None,
            watch=watch.begin(stores, limits),
        )

    return _add(stores, judged, if_match)


def rollback(
    stores: Stores, *, version: int, reason: str, changed_by: str, if_match: int | None
) -> PolicyInfo:
    """Add a version equal to an old one, rollout included, and return it.

    A rollback is never refused by guardrails and never watched, because it must always work.
    Raises `StaleVersion`, and `Invalid` for an unknown version.
    """

    def equal_to_old() -> PolicyChange:
        old = versions.numbered(stores, version)
        expected = forecast(stores, old.promote_at, old.demote_at)
        return PolicyChange(
            **vars(old.lines),
            reason=reason,
            changed_by=changed_by,
            rolled_back_to=version,
            predicted=as_json(expected) if expected else None,
        )

    return _add(stores, equal_to_old, if_match)


def roll_back_if_broken(stores: Stores) -> bool:
    """Roll back the latest version if it has broken a limit of its watch.

    The new version equals the newest earlier version that was rolled out to all accounts. A partial
    rollout would not do: the accounts outside it could stay on the broken version.

    Returns whether this call added the rollback. Several workers may run this concurrently.
    """
    latest = versions.current(stores)
    if latest.watch is None or clock.now(stores.sql) > latest.watch.until:
        return False
    reason = watch.broken(stores, latest.watch, latest.changed_at)
    if reason is None:
        return False
    try:
        rollback(
            stores,
            version=versions.settled_before(stores, latest.version),
            reason=reason,
            changed_by="guardrail",
            if_match=latest.version,
        )
    except StaleVersion:  # another worker or an operator has added a version meanwhile
        return False
    _log.warning("threshold.rolled_back", version=latest.version, reason=reason)
    return True


def _add(stores: Stores, make: Callable[[], PolicyChange], if_match: int | None) -> PolicyInfo:
    """Make a change from the latest version, and add it.

    Raises `StaleVersion` unless `if_match` is the latest version. With `if_match` None, a caller
    that loses the race to another caller makes its change again from the newer version.
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


def forecast(stores: Stores, promote_at: int, demote_at: int) -> Preview | None:
    """Return the preview of a change; None if there is no survey yet."""
    try:
        return preview(stores, promote_at, demote_at)
    except NoSurvey:
        return None


def as_json(expected: Preview) -> dict[str, Any]:
    """Return a preview as `GET …/preview` answers it. The record of versions stores this."""
    current, costs = expected.current, expected.costs
    answer = asdict(expected) | {
        "current": {
            "version": current.version,
            "promote_at": current.promote_at,
            "demote_at": current.demote_at,
        },
        "costs": {
            "calibrated_at": rfc3339(costs.calibrated_at) if costs.calibrated_at else None,
            "machine": costs.machine,
            "observations": dict(costs.observations),
            "is_default": costs.is_default,
        },
        "words": in_words(expected),
    }
    answer["inputs"]["taken_at"] = rfc3339(expected.inputs.taken_at)
    for account in answer["to_pull"]["largest"] + answer["to_push"]["largest"]:
        account["account_id"] = str(account["account_id"])
    return answer


def broken_guardrails(
    limits: Guardrails, promote_at: int, demote_at: int, expected: Preview | None
) -> list[Broken]:
    """Return the limits that a change would break, in the order of `Guardrails`. Pure."""
    return [
        *_broken_bounds(limits, promote_at, demote_at),
        *_broken_figures(limits, expected),
    ]


def _broken_bounds(limits: Guardrails, promote_at: int, demote_at: int) -> Iterator[Broken]:
    for line, value in (("promote_at", promote_at), ("demote_at", demote_at)):
        least, most = getattr(limits, f"min_{line}"), getattr(limits, f"max_{line}")
        if least is not None and value < least:
            detail = f"{line} {value} is below its bound of {least}"
            yield Broken(f"min_{line}", least, value, detail)
        if most is not None and value > most:
            yield Broken(f"max_{line}", most, value, f"{line} {value} is above its bound of {most}")
    limit = limits.max_demote_percent
    if limit is not None and demote_at * 100 > limit * promote_at:
        percent = demote_at * 100 / promote_at
        detail = f"demote_at is {percent:.6g} % of promote_at, the limit is {limit} %"
        yield Broken("max_demote_percent", limit, percent, detail)


def moved_percent(expected: Preview) -> Figure:
    """Return the deliveries a day that a change adds and saves, in percent of today's."""
    moved = expected.to_pull.deliveries_per_day + expected.to_push.deliveries_per_day
    percent = 100 * moved / (expected.deliveries_per_day.today or moved or 1.0)
    return Figure(0.0, percent, percent, None)


# A limit, the unit of its figure, and the figure itself.
_FIGURES = (
    ("max_moved_percent", "% of a day's deliveries moved", moved_percent),
    (
        "max_delivery_seconds",
        "seconds to the last follower",
        lambda expected: expected.seconds_to_last_follower,
    ),
    ("max_lists_per_read", "lists merged a read", lambda expected: expected.lists_per_read.p99),
    ("max_memory_bytes", "bytes of memory", lambda expected: expected.redis_bytes),
)


def _broken_figures(limits: Guardrails, expected: Preview | None) -> Iterator[Broken]:
    for guardrail, unit, figure_of in _FIGURES:
        limit = getattr(limits, guardrail)
        if limit is None:
            continue
        if expected is None:
            detail = (
                f"{unit}: at most {limit:.6g}, and the cost model has no figures yet to judge by"
            )
            yield Broken(guardrail, limit, None, detail)
            continue
        figure = figure_of(expected)
        today = math.inf if figure.today is None else figure.today
        value = math.inf if figure.proposed is None else figure.proposed
        # If today's figure is above the limit, a change that does not raise it is accepted.
        if value > max(limit, today):
            amount = f"{unit} without end" if value == math.inf else f"{value:.6g} {unit}"
            detail = f"{amount}, the limit is {limit:.6g}"
            yield Broken(guardrail, limit, figure.proposed, detail)
