"""The unit costs of this system: learnt from its own work, and from the work of a calibration."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from feedsvc.planning import learning
from feedsvc.store.redis import usage, work
from feedsvc.store.sql import clock
from feedsvc.store.sql.tables import Calibration

if TYPE_CHECKING:
    from feedsvc.planning.learning import Learnt
    from feedsvc.store import Stores
    from feedsvc.store.redis.work import Work

_WINDOW = dt.timedelta(days=1)


def counted(stores: Stores) -> Work:
    """Return the work that all processes have counted in the last day."""
    now = clock.now(stores.sql)
    return usage.work_between(stores.redis, now - _WINDOW, now + dt.timedelta(minutes=1))


def learnt(stores: Stores, counted: Work) -> Learnt:
    """Learn the unit costs from the work that the service has counted, and from a calibration."""
    columns = Calibration.taken_at, Calibration.machine, Calibration.costs
    newest = select(*columns).order_by(Calibration.id.desc()).limit(1)
    with stores.sql.reading() as connection:
        row = connection.execute(newest).first()
    sql_share = 0.0 if stores.sql.is_sqlite else learning.POSTGRESQL_SHARE
    # The release before this one stored unit costs in this column.
    if row is None or "upload_us" in row.costs:
        return learning.fit(counted, sql_share=sql_share)
    found = learning.fit(work.total([counted, work.from_json(row.costs)]), sql_share=sql_share)
    return replace(found, calibrated_at=row.taken_at, machine=row.machine)


def save_calibration(stores: Stores, taken_at: dt.datetime, machine: str, found: Work) -> None:
    """Store the work of a calibration. It is the latest from now on."""
    row = {"taken_at": taken_at, "machine": machine, "costs": found, "workers": 0, "margins": {}}
    with stores.sql.writing() as connection:
        connection.execute(insert(Calibration), row)
