"""The record of policy versions: each threshold, its author and the reason.

A version also stores the forecast of its change, how it is watched, and its measured outcome.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.orm import aliased

from feedsvc.errors import Invalid, StaleVersion
from feedsvc.paging import Kind, Page
from feedsvc.routing.next_route import ALL_ACCOUNTS, FIRST_VERSION
from feedsvc.store.sql import clock
from feedsvc.store.sql.database import now
from feedsvc.store.sql.keyset import key_page
from feedsvc.store.sql.tables import Policy

if TYPE_CHECKING:
    from feedsvc.store import Stores

_LOCK = 7_305_000_002  # serialises changes, so that each version number is given once
_STARTED_AT = now()


@dataclass(frozen=True)
class Watch:
    """The limits of a version that is watched.

    Until `until`, the version is rolled back when a 99th percentile is above its limit. None means
    no limit.
    """

    until: dt.datetime
    delivery_seconds: float | None
    read_p99_seconds: float | None


@dataclass(frozen=True)
class PolicyLines:
    """The two thresholds, and the share of accounts that follow them."""

    promote_at: int
    demote_at: int
    rollout_percent: int


@dataclass(frozen=True, kw_only=True)
class PolicyChange(PolicyLines):
    """A version to add. `predicted` is its preview as JSON, None if there was no survey."""

    reason: str
    changed_by: str
    rolled_back_to: int | None = None
    forced: bool = False
    predicted: dict[str, Any] | None = None
    watch: Watch | None = None


@dataclass(frozen=True, kw_only=True)
class PolicyInfo(PolicyChange):
    """One version. `previous` is the version before it, None for the first."""

    version: int
    changed_at: dt.datetime
    previous: PolicyLines | None = None
    measured: dict[str, Any] | None = None

    @property
    def lines(self) -> PolicyLines:
        """Return the thresholds and the rollout without the rest."""
        return PolicyLines(self.promote_at, self.demote_at, self.rollout_percent)


_before = aliased(Policy)
_after = aliased(Policy)
_PREVIOUS = ("previous_promote_at", "previous_demote_at", "previous_rollout_percent")
_VERSIONS = select(
    *Policy.__table__.columns,
    *(getattr(_before, name.removeprefix("previous_")).label(name) for name in _PREVIOUS),
).outerjoin(_before, _before.version == Policy.version - 1)
_UNMEASURED = (
    _VERSIONS.add_columns(_after.changed_at.label("ended_at"))
    .outerjoin(_after, _after.version == Policy.version + 1)
    .where(Policy.measured.is_(None))
    .order_by(Policy.version)
)


def current(stores: Stores) -> PolicyInfo:
    """Return the latest version.

    Until the first change is stored, version 1 comes from `FEEDSVC_PROMOTE_AT` and
    `FEEDSVC_DEMOTE_AT`.
    """
    with stores.sql.reading() as connection:
        return _latest(stores, connection)


def numbered(stores: Stores, version: int) -> PolicyInfo:
    """Return a version by its number. Raises `Invalid` for an unknown one."""
    with stores.sql.reading() as connection:
        row = connection.execute(_VERSIONS.where(Policy.version == version)).first()
        if row:
            return _info(row)
        latest = _latest(stores, connection)
    if version == latest.version:
        return latest
    raise Invalid(
        "json",
        "version",
        f"There is no version {version} of the threshold. The history lists them.",
    )


def add(stores: Stores, change: PolicyChange, if_match: int) -> PolicyInfo:
    """Add a version and return it.

    Raises `StaleVersion` unless `if_match` is the number of the latest version.
    """
    with stores.sql.writing() as connection:
        stores.sql.one_at_a_time(connection, _LOCK)
        latest = _latest(stores, connection)
        if if_match != latest.version:
            raise StaleVersion(latest.version)
        if connection.scalar(select(Policy.version).limit(1)) is None:
            # From now on the stored version 1 counts, and the settings no longer do.
            connection.execute(insert(Policy), _row(latest))
        number = latest.version + 1
        info = PolicyInfo(
            version=number, changed_at=clock.read(connection), previous=latest.lines, **vars(change)
        )
        connection.execute(insert(Policy), _row(info))
    return info


def history(stores: Stores, cursor: str | None, limit: int) -> Page[PolicyInfo]:
    """Return the versions, newest first."""
    with stores.sql.reading() as connection:
        page = key_page(
            connection, Kind.THRESHOLD_HISTORY, _VERSIONS, Policy.version, cursor, limit
        )
        infos = [_info(row) for row in page.items]
        if not infos and cursor is None:
            infos = [_latest(stores, connection)]
    return Page(infos, page.next_cursor, page.prev_cursor)


def settled_before(stores: Stores, version: int) -> int:
    """Return the number of the newest version before `version` that reached all accounts."""
    settled = select(func.max(Policy.version)).where(
        Policy.version < version, Policy.rollout_percent == ALL_ACCOUNTS
    )
    with stores.sql.reading() as connection:
        return connection.scalar(settled) or FIRST_VERSION


def unmeasured(stores: Stores) -> list[tuple[PolicyInfo, dt.datetime | None]]:
    """Return the versions without an outcome, each with the time of the next version.

    The time is None for the latest version.
    """
    with stores.sql.reading() as connection:
        return [(_info(row), row.ended_at) for row in connection.execute(_UNMEASURED)]


def record_outcome(stores: Stores, version: int, outcome: dict[str, Any]) -> None:
    """Store a version's outcome, unless it has one already."""
    unrecorded = update(Policy).where(Policy.version == version, Policy.measured.is_(None))
    with stores.sql.writing() as connection:
        connection.execute(unrecorded.values(measured=outcome))


def _latest(stores: Stores, connection: Connection) -> PolicyInfo:
    row = connection.execute(_VERSIONS.order_by(Policy.version.desc()).limit(1)).first()
    if row:
        return _info(row)
    return PolicyInfo(
        version=FIRST_VERSION,
        promote_at=stores.limits.promote_at,
        demote_at=stores.limits.demote_at,
        rollout_percent=ALL_ACCOUNTS,
        reason="from the settings",
        changed_by="settings",
        changed_at=_STARTED_AT,
    )


def _row(info: PolicyInfo) -> dict[str, Any]:
    row = {name: value for name, value in vars(info).items() if name != "previous"}
    if info.watch:
        row["watch"] = asdict(info.watch) | {"until": info.watch.until.isoformat()}
    return row


def _info(row: Row[Any]) -> PolicyInfo:
    values = row._asdict()
    values.pop("ended_at", None)
    previous = [values.pop(name) for name in _PREVIOUS]
    if previous[0] is not None:
        values["previous"] = PolicyLines(*previous)
    if values["watch"]:
        until = dt.datetime.fromisoformat(values["watch"]["until"])
        values["watch"] = Watch(**values["watch"] | {"until": until})
    return PolicyInfo(**values)
