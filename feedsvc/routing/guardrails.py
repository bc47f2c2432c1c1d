"""The limits that operators have set on changes of the threshold, with a history of versions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, select

from feedsvc.errors import StaleVersion
from feedsvc.store.sql import clock
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import GuardrailSet

if TYPE_CHECKING:
    import datetime as dt

    from feedsvc.store import Stores

# How long a change is watched if `roll_back_within_seconds` is not set.
WATCHED_SECONDS = 3_600

_LOCK = 7_305_000_003  # serialises changes, so that each version number is given once
_LATEST = select(*GuardrailSet.__table__.columns).order_by(GuardrailSet.version.desc()).limit(1)
_STARTED_AT = now()


@dataclass(frozen=True, kw_only=True)
class Guardrails:
    """The limits. None means that a limit is not set.

    `max_moved_percent` is a share of a day's deliveries. Three limits are in seconds, counted from
    an upload:

    - `max_delivery_seconds` limits the predicted mean time to the last follower of the largest
      pushed account.
    - `roll_back_delivery_seconds` limits the measured 99th percentile of the delivery lag.
    - `relief_delivery_seconds` limits the age of the oldest unfinished fan-out. Load shedding
      starts above it.
    """

    min_promote_at: int | None = None
    max_promote_at: int | None = None
    min_demote_at: int | None = None
    max_demote_at: int | None = None
    max_demote_percent: int | None = None
    max_moved_percent: float | None = None
    max_delivery_seconds: float | None = None
    max_lists_per_read: float | None = None
    max_memory_bytes: float | None = None
    roll_back_delivery_seconds: float | None = None
    roll_back_read_p99_seconds: float | None = None
    roll_back_within_seconds: int | None = None
    relief_delivery_seconds: float | None = None


@dataclass(frozen=True)
class GuardrailsInfo:
    """One version of the guardrails. Version 1 has no limit set."""

    version: int
    guardrails: Guardrails
    reason: str
    changed_by: str
    changed_at: dt.datetime


def current(stores: Stores) -> GuardrailsInfo:
    """Return the latest version."""
    with stores.sql.reading() as connection:
        return _latest(connection)


def change(
    stores: Stores, guardrails: Guardrails, *, reason: str, changed_by: str, if_match: int | None
) -> GuardrailsInfo:
    """Set all limits at once, and return the new version.

    Raises `StaleVersion` unless `if_match` is the latest version. None accepts any version.
    """
    with stores.sql.writing() as connection:
        stores.sql.one_at_a_time(connection, _LOCK)
        latest = _latest(connection)
        if if_match not in (None, latest.version):
            raise StaleVersion(latest.version, "guardrails have")
        info = GuardrailsInfo(
            latest.version + 1, guardrails, reason, changed_by, clock.read(connection)
        )
        row = {name: value for name, value in vars(info).items() if name != "guardrails"}
        limits = {name: limit for name, limit in asdict(guardrails).items() if limit is not None}
        connection.execute(insert(GuardrailSet), {**row, "limits": limits})
    return info


def _latest(connection: Connection) -> GuardrailsInfo:
    row = connection.execute(_LATEST).first()
    if row is None:
        return GuardrailsInfo(1, Guardrails(), "none set", "settings", _STARTED_AT)
    return GuardrailsInfo(
        row.version, Guardrails(**row.limits), row.reason, row.changed_by, row.changed_at
    )
