"""What is kept for the cost model: its inputs, and the unit costs of the latest calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from feedsvc.planning.costs import UnitCosts
from feedsvc.store.sql.tables import Calibration

if TYPE_CHECKING:
    import datetime as dt

    from feedsvc.store import Stores

# Processes that fan out, where nobody has counted them: what `up` starts.
_WORKERS = 2

# Measured with `threshold calibrate` on 2 cores, x86_64, Python 3.11.7, Valkey 9.1.2 and SQLite, feeds of 800, 80,000 lists
# (docs/evidence/threshold.md).
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
# Another machine, or the same one on another day, may differ by as much: a default says no more than that.
_DEFAULT_MARGIN = 0.5


@dataclass(frozen=True)
class Calibrated:
    """Unit costs, their 95 % half-widths, and where they are from; the defaults have no date and no machine."""

    taken_at: dt.datetime | None
    machine: str | None
    workers: int
    costs: UnitCosts
    margins: UnitCosts

    @property
    def is_default(self) -> bool:
        """Whether they were measured elsewhere."""
        return self.taken_at is None


DEFAULTS = Calibrated(None, None, _WORKERS, DEFAULT_COSTS, DEFAULT_COSTS.share(_DEFAULT_MARGIN))


def calibrated(stores: Stores) -> Calibrated:
    """The latest calibration, else the defaults."""
    with stores.sql.reading() as connection:
        row = connection.execute(
            select(*Calibration.__table__.columns).order_by(Calibration.id.desc()).limit(1)
        ).first()
    if row is None:
        return DEFAULTS
    return Calibrated(
        row.taken_at, row.machine, row.workers, UnitCosts(**row.costs), UnitCosts(**row.margins)
    )


def save_calibration(stores: Stores, found: Calibrated) -> None:
    """Keep this one; it is the latest from now on."""
    row = {**vars(found), "costs": vars(found.costs), "margins": vars(found.margins)}
    with stores.sql.writing() as connection:
        connection.execute(insert(Calibration), row)
