"""The unit costs of the latest calibration, stored in SQL, and the defaults until there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from feedsvc.planning.costs import UnitCosts
from feedsvc.store.sql.tables import Calibration

if TYPE_CHECKING:
    import datetime as dt

    from feedsvc.store import Stores

# Measured with `threshold calibrate` on 2 cores, x86_64, Python 3.11.7, Valkey 9.1.2 and SQLite,
# feeds of 800, 80,000 lists (docs/evidence/threshold.md).
DEFAULT_COSTS = UnitCosts(
    upload_us=2_200,
    fanout_us=81,
    round_us=4_600,
    small_fanout_us=96,
    link_us=6_100,
    follower_id_us=0.14,
    push_us=1.5,
    skip_us=0.63,
    read_us=151,
    look_up_us=0.25,
    first_list_us=12.3,
    list_us=2.2,
    list_tenfold_us=0.3,
    list_entry_us=0.0,
    learn_us=46,
    feed_bytes=80,
    entry_bytes=10.2,
)
# An assumption, not a measurement: on another machine, each unit cost is between half and one and a
# half times its default.
_DEFAULT_MARGIN = 0.5
# The worker processes that `feedsvc up` starts.
_DEFAULT_WORKERS = 2


@dataclass(frozen=True)
class CalibratedCosts:
    """Unit costs with the half-widths of their 95 % intervals, and the machine they come from.

    The defaults have no date and no machine.
    """

    taken_at: dt.datetime | None
    machine: str | None
    workers: int
    costs: UnitCosts
    margins: UnitCosts

    @property
    def is_default(self) -> bool:
        """Return whether no calibration has run on this system."""
        return self.taken_at is None


DEFAULTS = CalibratedCosts(
    None, None, _DEFAULT_WORKERS, DEFAULT_COSTS, DEFAULT_COSTS.share(_DEFAULT_MARGIN)
)


def latest(stores: Stores) -> CalibratedCosts:
    """Return the latest calibration, or the defaults if there is none."""
    newest = select(*Calibration.__table__.columns).order_by(Calibration.id.desc()).limit(1)
    with stores.sql.reading() as connection:
        row = connection.execute(newest).first()
    if row is None:
        return DEFAULTS
    return CalibratedCosts(
        row.taken_at,
        row.machine,
        row.workers,
        UnitCosts(**row.costs),
        UnitCosts(**row.margins),
    )


def save(stores: Stores, found: CalibratedCosts) -> None:
    """Store a calibration. It is the latest from now on."""
    row = {**vars(found), "costs": vars(found.costs), "margins": vars(found.margins)}
    with stores.sql.writing() as connection:
        connection.execute(insert(Calibration), row)
