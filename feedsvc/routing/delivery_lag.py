"""How long fan-outs take: seconds from an upload to `done`, as SQL has it. One that is not done counts with its age so far.

Post ids are ordered by time, so a window is a range of the primary key, and what is read of it is bounded.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, or_, select

from feedsvc import post_ids
from feedsvc.formats import percentile
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores

# Fan-outs that a percentile is taken over, the newest of the window: enough for the 99th, and read within milliseconds.
MOST = 1_000
_RECENT = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Lag:
    """Delivery lag now: percentiles over the posts of the last five minutes, None without any; and the oldest that still waits."""

    posts: int
    p50_seconds: float | None
    p99_seconds: float | None
    oldest_unfinished_seconds: float


def recent(stores: Stores) -> Lag:
    """The delivery lag now."""
    with stores.sql.reading() as connection:
        lags = between(connection, now() - _RECENT, now())
        oldest = oldest_unfinished(connection)
    return Lag(len(lags), percentile(lags, 50), percentile(lags, 99), oldest)


def between(
    connection: Connection, since: dt.datetime, until: dt.datetime, most: int = MOST
) -> list[float]:
    """The seconds that the newest pushed posts uploaded in this window took, or have waited until now; ascending."""
    is_pushed = or_(
        Fanout.started_at.is_not(None), Fanout.state != "done"
    )  # one that was pulled, or deleted, is done without a start
    uploaded = (Fanout.post_id >= _lowest_id(since), Fanout.post_id < _lowest_id(until))
    query = select(Fanout.post_id, Fanout.finished_at).where(*uploaded, is_pushed)
    at = now()
    return sorted(
        _seconds(row, at)
        for row in connection.execute(query.order_by(Fanout.post_id.desc()).limit(most))
    )


def oldest_unfinished(connection: Connection) -> float:
    """The age of the oldest post whose fan-out is not done; 0 if all are. Reads the backlog, from the index that the sweep uses."""
    waiting = select(func.min(Fanout.post_id)).where(
        Fanout.next_look_at.is_not(None), Fanout.state != "done"
    )
    oldest = connection.scalar(waiting)
    return 0.0 if oldest is None else max(0.0, (now() - _uploaded_at(oldest)).total_seconds())


def delivered(connection: Connection, since: dt.datetime, until: dt.datetime) -> tuple[int, int]:
    """Posts uploaded in this window, and the feeds that took their ids. Reads the whole window."""
    query = select(func.count(), func.coalesce(func.sum(Fanout.delivered), 0))
    posts, feeds = connection.execute(
        query.where(Fanout.post_id >= _lowest_id(since), Fanout.post_id < _lowest_id(until))
    ).one()
    return int(posts), int(feeds)


def _seconds(row: Row[int, dt.datetime | None], at: dt.datetime) -> float:
    return max(0.0, ((row.finished_at or at) - _uploaded_at(row.post_id)).total_seconds())


def _uploaded_at(post_id: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(post_ids.seconds_of(post_id), dt.UTC)


def _lowest_id(moment: dt.datetime) -> int:
    return post_ids.lowest_of(int(moment.timestamp() * 1000))
