"""The record of policies: every version of the threshold, who set it and why. Read by each upload, so a change holds at once.

With each version: what the cost model expected of it, what was measured while it held, and whether a guardrail was overruled.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import aliased

from feedsvc.errors import Invalid, StaleVersion
from feedsvc.paging import Kind, Page
from feedsvc.routing.policy import Thresholds
from feedsvc.store.sql.database import now
from feedsvc.store.sql.keyset import key_page
from feedsvc.store.sql.tables import Policy

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores

_FIRST_VERSION = 1
_LOCK = 7_305_000_002  # versions are given one after the other
_STARTED_AT = now()


@dataclass(frozen=True)
class Watch:
    """Until when a version is watched, and the limits on its 99th percentiles (None: not watched)."""

    until: dt.datetime
    delivery_seconds: float | None
    read_p99_seconds: float | None

    def as_json(self) -> dict[str, Any]:
        """For the row of the version."""
        return {**asdict(self), "until": self.until.isoformat()}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Watch:
        """What `as_json` made."""
        return cls(**{**kept, "until": dt.datetime.fromisoformat(kept["until"])})


@dataclass(frozen=True)
class PolicyLines:
    """What can be set: the two lines, and the share of accounts that follow them."""

    promote_at: int
    demote_at: int
    rollout_percent: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A version to be added. `predicted`: the preview's figures as JSON, None where it had none."""

    lines: PolicyLines
    reason: str
    changed_by: str
    rolled_back_to: int | None = None
    forced: bool = False
    predicted: dict[str, Any] | None = None
    watch: Watch | None = None


@dataclass(frozen=True, kw_only=True)
class PolicyInfo:
    """One version as people see it. `previous`: what it changed; None for the first."""

    version: int
    promote_at: int
    demote_at: int
    rollout_percent: int
    reason: str
    changed_by: str
    changed_at: dt.datetime
    previous: PolicyLines | None = None
    rolled_back_to: int | None = None
    forced: bool = False
    predicted: dict[str, Any] | None = None
    watch: Watch | None = None
    measured: dict[str, Any] | None = None

    @property
    def lines(self) -> PolicyLines:
        """What was set."""
        return PolicyLines(self.promote_at, self.demote_at, self.rollout_percent)


_before = aliased(Policy)
_LINES = (Policy.promote_at, Policy.demote_at, Policy.rollout_percent)
_BEFORE = (
    _before.promote_at.label("before_0"),
    _before.demote_at.label("before_1"),
    _before.rollout_percent.label("before_2"),
)
_NEWEST = select(Policy.version, *_LINES).order_by(Policy.version.desc()).limit(1)
_NEWEST_FOR_ALL = _NEWEST.where(Policy.rollout_percent == 100)  # noqa: PLR2004 -- per cent
_VERSIONS = select(*Policy.__table__.columns, *_BEFORE).outerjoin(
    _before, _before.version == Policy.version - 1
)


def current(stores: Stores) -> PolicyInfo:
    """The version that was set last; the first is made of the settings."""
    with stores.sql.reading() as connection:
        return _latest(stores, connection)


def numbered(stores: Stores, version: int) -> PolicyInfo:
    """An old version, or the current one. Raises `Invalid` for an unknown one."""
    with stores.sql.reading() as connection:
        row = connection.execute(_VERSIONS.where(Policy.version == version)).first()
        if row:
            return _info(row)
        if version == _latest(stores, connection).version:
            return _first(stores)
    raise Invalid(
        "json",
        "version",
        f"There is no version {version} of the threshold. The history lists them.",
    )


def latest_and_settled(stores: Stores, connection: Connection) -> tuple[Thresholds, Thresholds]:
    """The version set last, and the last one that was rolled out to every account (often the same)."""
    latest = _thresholds(stores, connection.execute(_NEWEST).first())
    if latest.rollout_percent == 100:  # noqa: PLR2004 -- per cent
        return latest, latest
    return latest, _thresholds(stores, connection.execute(_NEWEST_FOR_ALL).first())


def add(stores: Stores, entry: Entry, if_match: int) -> PolicyInfo:
    """Add a version, provided that `if_match` is still the current one. Returns it. Raises `StaleVersion`."""
    with stores.sql.writing() as connection:
        stores.sql.one_at_a_time(connection, _LOCK)
        latest = _latest(stores, connection)
        if if_match != latest.version:
            raise StaleVersion(latest.version)
        if connection.scalar(select(Policy.version).limit(1)) is None:
            connection.execute(
                insert(Policy), _row(latest.version, latest.changed_at, latest)
            )  # the settings no longer speak
        at = now()
        connection.execute(insert(Policy), _row(latest.version + 1, at, entry))
    rest = {name: value for name, value in vars(entry).items() if name != "lines"}
    return PolicyInfo(
        version=latest.version + 1,
        changed_at=at,
        previous=latest.lines,
        **asdict(entry.lines),
        **rest,
    )


def history(stores: Stores, cursor: str | None, limit: int) -> Page[PolicyInfo]:
    """Every version, newest first."""
    with stores.sql.reading() as connection:
        page = key_page(
            connection, Kind.THRESHOLD_HISTORY, _VERSIONS, Policy.version, cursor, limit
        )
        if (
            not page.items
            and _latest(stores, connection).version == _FIRST_VERSION
            and cursor is None
        ):
            return Page([_first(stores)], None, page.prev_cursor)
    return Page([_info(row) for row in page.items], page.next_cursor, page.prev_cursor)


def held_until(stores: Stores) -> list[tuple[PolicyInfo, dt.datetime | None]]:
    """The versions of which nothing was measured yet, each with the time of the next one (None: it is the current one)."""
    after = aliased(Policy)
    unmeasured = _VERSIONS.add_columns(after.changed_at.label("ended_at")).outerjoin(
        after, after.version == Policy.version + 1
    )
    with stores.sql.reading() as connection:
        rows = connection.execute(
            unmeasured.where(Policy.measured.is_(None)).order_by(Policy.version)
        ).all()
    return [(_info(row), row.ended_at) for row in rows]


def keep_outcome(stores: Stores, version: int, outcome: dict[str, Any]) -> None:
    """Note what was measured while a version held; once."""
    with stores.sql.writing() as connection:
        connection.execute(
            update(Policy)
            .where(Policy.version == version, Policy.measured.is_(None))
            .values(measured=outcome)
        )


def _latest(stores: Stores, connection: Connection) -> PolicyInfo:
    row = connection.execute(_VERSIONS.order_by(Policy.version.desc()).limit(1)).first()
    return _info(row) if row else _first(stores)


def _first(stores: Stores) -> PolicyInfo:
    lines = PolicyLines(stores.limits.promote_at, stores.limits.demote_at, 100)
    more = {"reason": "from the settings", "changed_by": "settings", "changed_at": _STARTED_AT}
    return PolicyInfo(version=_FIRST_VERSION, **asdict(lines), **more)  # type: ignore[arg-type]


def _thresholds(stores: Stores, row: Row[*tuple[Any, ...]] | None) -> Thresholds:
    return (
        Thresholds(*row)
        if row
        else Thresholds(_FIRST_VERSION, stores.limits.promote_at, stores.limits.demote_at)
    )


def _row(version: int, changed_at: dt.datetime, entry: Entry | PolicyInfo) -> dict[str, Any]:
    names = ("reason", "changed_by", "rolled_back_to", "forced", "predicted")
    more = {name: getattr(entry, name) for name in names}
    return {
        "version": version,
        **asdict(entry.lines),
        "changed_at": changed_at,
        "watch": entry.watch and entry.watch.as_json(),
        **more,
    }


def _info(row: Row[*tuple[Any, ...]]) -> PolicyInfo:
    given = row._asdict()
    before = [given.pop(f"before_{number}") for number in range(3)]
    given.pop("ended_at", None)
    watch = given.pop("watch")
    previous = None if before[0] is None else PolicyLines(*before)
    return PolicyInfo(**given, previous=previous, watch=watch and Watch.from_json(watch))
