"""Measure delivery lag: the seconds from an upload until its fan-out is done, read from SQL.

For a fan-out that is not done, the lag is its age so far. Post ids are ordered by time. So a time
window is a range of the primary key, and a query reads a bounded number of rows.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, or_, select

from feedsvc import post_ids
from feedsvc.formats import percentile
from feedsvc.store.sql import clock
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from feedsvc.store import Stores

# A percentile is taken over at most the newest 1,000 fan-outs of a window, so that a query reads a
# bounded number of rows. Ten of the 1,000 are above the 99th percentile.
MAX_FANOUTS = 1_000
_RECENT = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Lag:
    """Delivery lag now. The percentiles cover posts of the last five minutes; None without posts.

    `oldest_unfinished_seconds` is the age of the oldest post whose fan-out is not done.
    """

    posts: int
    p50_seconds: float | None
    p99_seconds: float | None
    oldest_unfinished_seconds: float


def recent(stores: Stores) -> Lag:
    """Return the delivery lag now."""
    with stores.sql.reading() as connection:
        at = clock.read(connection)
        lags = between(connection, at - _RECENT, at)
        oldest = oldest_unfinished(connection)
    return Lag(len(lags), percentile(lags, 50), percentile(lags, 99), oldest)


def between(
    connection: Connection, since: dt.datetime, until: dt.datetime, most: int = MAX_FANOUTS
) -> list[float]:
    """Return the lags of the newest pushed posts uploaded in a window, in seconds, ascending."""
    # A pulled post's fan-out has the state "done" and no `started_at`. So has the fan-out of a post
    # that was deleted before its fan-out began.
    is_pushed = or_(Fanout.started_at.is_not(None), Fanout.state != "done")
    newest = (
        select(Fanout.post_id, Fanout.finished_at)
        .where(Fanout.post_id >= _lowest_id(since), Fanout.post_id < _lowest_id(until), is_pushed)
        .order_by(Fanout.post_id.desc())
        .limit(most)
    )
    at = clock.read(connection)
    return sorted(_age(row.post_id, row.finished_at or at) for row in connection.execute(newest))


def oldest_unfinished(connection: Connection) -> float:
    """Return the age in seconds of the oldest post whose fan-out is not done; 0 if all are done.

    Reads the backlog, from the index that the sweep uses.
    """
    oldest = connection.scalar(
        select(func.min(Fanout.post_id)).where(
            Fanout.next_look_at.is_not(None), Fanout.state != "done"
        )
    )
    return 0.0 if oldest is None else _age(oldest, clock.read(connection))


def delivered(connection: Connection, since: dt.datetime, until: dt.datetime) -> tuple[int, int]:
    """Return how many posts were uploaded in a window, and how many feeds their ids reached.

    Reads every row of the window.
    """
    posts, feeds = connection.execute(
        select(func.count(), func.coalesce(func.sum(Fanout.delivered), 0)).where(
            Fanout.post_id >= _lowest_id(since), Fanout.post_id < _lowest_id(until)
        )
    ).one()
    return int(posts), int(feeds)


def _age(post_id: int, at: dt.datetime) -> float:
    uploaded_at = dt.datetime.fromtimestamp(post_ids.seconds_of(post_id), dt.UTC)
    return max(0.0, (at - uploaded_at).total_seconds())


def _lowest_id(moment: dt.datetime) -> int:
    return post_ids.lowest_of(int(moment.timestamp() * 1000))
