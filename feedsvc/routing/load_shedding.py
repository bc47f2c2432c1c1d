"""Relief from overload: while delivery lags, the accounts with most followers are pulled, more of them the longer it lasts.

Their posts are visible all the same, from their celebrity lists; nothing is dropped, only not pushed. Applies once an operator
has set the limit `relief_delivery_seconds`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import delete, insert, select, update

from feedsvc.routing import delivery_lag, guardrails, versions
from feedsvc.routing.policy import LoadShedding, next_shedding_line
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import LoadSheddingLine

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection

    from feedsvc.store import Stores

_log = structlog.get_logger()

_LEAST_SHARE = 16  # of promote_at, where that is less than a slice: a small installation is next_shedding_line, too
_LOCK = 7_305_000_004  # looks move the line one after the other
_LINE = select(LoadSheddingLine.pull_from, LoadSheddingLine.delivery_seconds)


@dataclass(frozen=True)
class LoadSheddingInfo:
    """The relief that holds, as people see it."""

    pull_from: int
    delivery_seconds: float
    since: dt.datetime


def standing(connection: Connection) -> LoadShedding | None:
    """The relief that an upload has to follow."""
    row = connection.execute(_LINE).first()
    return LoadShedding(*row) if row else None


def current(stores: Stores) -> LoadSheddingInfo | None:
    """The relief that holds now, and since when."""
    with stores.sql.reading() as connection:
        row = connection.execute(
            select(
                LoadSheddingLine.pull_from,
                LoadSheddingLine.delivery_seconds,
                LoadSheddingLine.since,
            )
        ).first()
    return LoadSheddingInfo(*row) if row else None


def look(stores: Stores) -> None:
    """Move the line one step, as the delivery lag asks for. Several may look at once: one of them moves it."""
    limit = guardrails.current(stores).guardrails.relief_delivery_seconds
    with stores.sql.reading() as connection:
        found = standing(connection)
        if limit is None and found is None:
            return
        seconds = delivery_lag.oldest_unfinished(connection)
        promote_at = versions.latest_and_settled(stores, connection)[0].promote_at
    # Whoever has fewer followers than a slice is delivered to in one step, in a round: not pushing that saves little.
    least = min(stores.limits.fanout_slice, max(1, promote_at // _LEAST_SHARE))
    at = found.pull_from if found else None
    line = (
        None
        if limit is None
        else next_shedding_line(at, seconds, limit, least=least, promote_at=promote_at)
    )
    if (
        _replace(stores, found, None if line is None else LoadShedding(line, seconds))
        and line != at
    ):
        _log.warning(
            "threshold.relief_moved", pull_from=line, before=at, delivery_seconds=round(seconds, 3)
        )


def _replace(stores: Stores, found: LoadShedding | None, line: LoadShedding | None) -> bool:
    """Whether it was done: not if another look was faster."""
    with stores.sql.writing() as connection:
        stores.sql.one_at_a_time(connection, _LOCK)
        if standing(connection) != found:
            return False
        if line is None:
            connection.execute(delete(LoadSheddingLine))
        elif found is None:
            connection.execute(insert(LoadSheddingLine), {**asdict(line), "since": now()})
        else:
            connection.execute(update(LoadSheddingLine).values(**asdict(line)))
    return True
