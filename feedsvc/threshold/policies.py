"""The record of policies: every version of the threshold, who set it and why. Read by each upload, so a change holds at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, text

from feedsvc.errors import Invalid, StaleVersion
from feedsvc.paging import Kind, Page
from feedsvc.store.sql.database import now
from feedsvc.store.sql.pages import key_page
from feedsvc.store.sql.tables import Policy
from feedsvc.threshold.policy import Thresholds

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores

_FIRST_VERSION = 1
_LOCK = 7_305_000_002  # PostgreSQL advisory lock: versions are given one after the other
_STARTED_AT = now()


@dataclass(frozen=True)
class PolicyInfo:
    """One version as people see it."""

    version: int
    promote_at: int
    demote_at: int
    rollout_percent: int
    reason: str
    changed_by: str
    changed_at: dt.datetime

    @property
    def thresholds(self) -> Thresholds:
        """What an upload needs of it."""
        return Thresholds(self.version, self.promote_at, self.demote_at, self.rollout_percent)


def current(stores: Stores) -> PolicyInfo:
    """The version that was set last; the first is made of the settings."""
    with stores.sql.reading() as connection:
        return _latest(stores, connection)


def latest_and_settled(stores: Stores, connection: Connection) -> tuple[Thresholds, Thresholds]:
    """The version set last, and the last one that was rolled out to every account (often the same)."""
    latest = _latest(stores, connection)
    if latest.rollout_percent == 100:  # noqa: PLR2004 -- per cent
        return latest.thresholds, latest.thresholds
    everywhere = select(*Policy.__table__.columns).where(Policy.rollout_percent == 100).order_by(Policy.version.desc())  # noqa: PLR2004
    settled = connection.execute(everywhere.limit(1)).first()
    return latest.thresholds, (_info(settled) if settled else _first(stores)).thresholds


def change(
    stores: Stores, *, promote_at: int, demote_at: int, rollout_percent: int, reason: str, changed_by: str, if_match: int | None
) -> PolicyInfo:
    """Set a new version, provided that `if_match` is still the current one (None: whatever is). Returns it.

    Raises `StaleVersion`, or `Invalid` unless promote_at ≥ demote_at ≥ 1.
    """
    if not promote_at >= demote_at >= 1:
        raise Invalid("json", "demote_at", f"Must be at least 1 and at most promote_at ({promote_at}).")
    with stores.sql.writing() as connection:
        latest = _latest_for_change(stores, connection, if_match)
        fresh = PolicyInfo(latest.version + 1, promote_at, demote_at, rollout_percent, reason, changed_by, now())
        connection.execute(insert(Policy), vars(fresh))
    return fresh


def rollback(stores: Stores, *, version: int, reason: str, changed_by: str, if_match: int | None) -> PolicyInfo:
    """Set a new version equal to an old one, for every account. Raises `Invalid` for an unknown one."""
    with stores.sql.reading() as connection:
        old = _numbered(stores, connection, version)
    return change(
        stores,
        promote_at=old.promote_at,
        demote_at=old.demote_at,
        rollout_percent=old.rollout_percent,
        reason=reason,
        changed_by=changed_by,
        if_match=if_match,
    )


def history(stores: Stores, cursor: str | None, limit: int) -> Page[PolicyInfo]:
    """Every version, newest first."""
    with stores.sql.reading() as connection:
        query = select(*Policy.__table__.columns)
        page = key_page(connection, Kind.THRESHOLD_HISTORY, query, Policy.version, cursor, limit)
        if not page.items and _latest(stores, connection).version == _FIRST_VERSION and cursor is None:
            return Page([_first(stores)], None, page.prev_cursor)
    return Page([_info(row) for row in page.items], page.next_cursor, page.prev_cursor)


def _latest(stores: Stores, connection: Connection) -> PolicyInfo:
    row = connection.execute(select(*Policy.__table__.columns).order_by(Policy.version.desc()).limit(1)).first()
    return _info(row) if row else _first(stores)


def _latest_for_change(stores: Stores, connection: Connection, if_match: int | None) -> PolicyInfo:
    if not stores.sql.is_sqlite:  # there, every writing transaction holds the one lock
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    latest = _latest(stores, connection)
    if if_match not in (None, latest.version):
        raise StaleVersion(latest.version)
    if connection.scalar(select(Policy.version).limit(1)) is None:
        connection.execute(insert(Policy), vars(latest))  # from now on the settings no longer speak
    return latest


def _numbered(stores: Stores, connection: Connection, version: int) -> PolicyInfo:
    row = connection.execute(select(*Policy.__table__.columns).where(Policy.version == version)).first()
    if row:
        return _info(row)
    if version == _latest(stores, connection).version:
        return _first(stores)
    raise Invalid("json", "version", f"There is no version {version} of the threshold. The history lists them.")


def _first(stores: Stores) -> PolicyInfo:
    limits = stores.limits
    return PolicyInfo(_FIRST_VERSION, limits.promote_at, limits.demote_at, 100, "from the settings", "settings", _STARTED_AT)


def _info(row: Row[*tuple[Any, ...]]) -> PolicyInfo:
    return PolicyInfo(**row._mapping)  # noqa: SLF001 -- SQLAlchemy's public name for a row as a mapping
