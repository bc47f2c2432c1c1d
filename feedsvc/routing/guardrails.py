"""The guardrails that operators have set, each version kept, with who set it and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from feedsvc.errors import StaleVersion
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import GuardrailSet

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection

    from feedsvc.store import Stores

_LOCK = 7_305_000_003  # versions are given one after the other
_STARTED_AT = now()


WATCHED_SECONDS = 3_600


@dataclass(frozen=True, kw_only=True)
class Guardrails:
    """The limits; None: not set. `moved` is of deliveries a day, `delivery_seconds` from an upload to its last follower."""

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
    """One version as people see it; the first has no limit set."""

    version: int
    guardrails: Guardrails
    reason: str
    changed_by: str
    changed_at: dt.datetime


def current(stores: Stores) -> GuardrailsInfo:
    """The guardrails that hold."""
    with stores.sql.reading() as connection:
        return _latest(connection)


def change(
    stores: Stores, guardrails: Guardrails, *, reason: str, changed_by: str, if_match: int | None
) -> GuardrailsInfo:
    """Set a new version, all limits at once, provided that `if_match` is still the current one (None: whatever is). Returns it.

    Raises `StaleVersion`.
    """
    with stores.sql.writing() as connection:
        stores.sql.one_at_a_time(connection, _LOCK)
        latest = _latest(connection)
        if if_match not in (None, latest.version):
            raise StaleVersion(latest.version, "guardrails have")
        fresh = GuardrailsInfo(latest.version + 1, guardrails, reason, changed_by, now())
        limits = {name: limit for name, limit in asdict(guardrails).items() if limit is not None}
        more = {"reason": reason, "changed_by": changed_by, "changed_at": fresh.changed_at}
        connection.execute(
            insert(GuardrailSet), {"version": fresh.version, "limits": limits, **more}
        )
    return fresh


def _latest(connection: Connection) -> GuardrailsInfo:
    row = connection.execute(
        select(*GuardrailSet.__table__.columns).order_by(GuardrailSet.version.desc()).limit(1)
    ).first()
    if row is None:
        return GuardrailsInfo(1, Guardrails(), "none set", "settings", _STARTED_AT)
    return GuardrailsInfo(
        row.version, Guardrails(**row.limits), row.reason, row.changed_by, row.changed_at
    )
