"""The followers of an account, in batches by key.

A batch begins after the last follower of the batch before. An offset would skip and repeat
followers while others follow and unfollow.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import String, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from feedsvc.formats import MAX_ID
from feedsvc.store.sql.tables import Follow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import ColumnElement, Connection, Select
    from sqlalchemy.orm import InstrumentedAttribute

    from feedsvc.store import Stores

_STREAMED_ROWS = 1_000


def batch(
    stores: Stores,
    connection: Connection,
    followee: int,
    after: int,
    count: int,
    *,
    upto: int | None = None,
) -> list[str]:
    """Return up to `count` follower ids above `after`, at most `upto`, ascending, as strings.

    The database joins the ids into one string. Otherwise 10,000 rows would become 10,000 Python
    integers and then 10,000 strings. Measured: 1.9 million ids/s as rows and 2.6 million as one
    string on PostgreSQL, 3.6 million and 7.2 million on SQLite.
    """
    values = {
        "followee": followee,
        "after": after,
        "count": count,
        "upto": MAX_ID if upto is None else upto,
    }
    text = connection.scalar(_batch(stores.sql.is_sqlite), values)
    return text.split(",") if text else []


def of_each(
    stores: Stores, connection: Connection, followees: Collection[int]
) -> dict[int, list[str]]:
    """Return all followers of accounts that have few, as strings, the shortest ids first."""
    rows = connection.execute(_of_each(stores.sql.is_sqlite), {"followees": list(followees)})
    return {row.followee_id: sorted(row.joined.split(","), key=len) for row in rows}


def of_all(stores: Stores, connection: Connection) -> Iterator[tuple[int, str]]:
    """Yield every account with followers, ascending, and its followers, comma-separated.

    Reads the whole graph.
    """
    columns = (
        Follow.followee_id,
        _joined(Follow.follower_id, stores.sql.is_sqlite).label("joined"),
    )
    streamed = connection.execution_options(yield_per=_STREAMED_ROWS)
    for row in streamed.execute(
        select(*columns).group_by(Follow.followee_id).order_by(Follow.followee_id)
    ):
        yield row.followee_id, row.joined


def dividing(connection: Connection, followee: int, followers: int, parts: int) -> list[int]:
    """Return the follower ids that divide the followers into parts of equal size, ascending.

    Each id is the last one of its part. `followers` is the estimated number of followers.
    """
    found: list[int] = []
    for _ in range(parts - 1):
        after = Follow.follower_id > (found[-1] if found else 0)
        rest = (
            select(Follow.follower_id)
            .where(Follow.followee_id == followee, after)
            .order_by(Follow.follower_id)
        )
        bound = connection.scalar(rest.offset(followers // parts - 1).limit(1))
        if bound is None:  # the account has lost followers
            break
        found.append(bound)
    return found


@cache
def _batch(is_sqlite: bool) -> Select[str]:
    after = select(Follow.follower_id).where(
        Follow.followee_id == bindparam("followee"), Follow.follower_id > bindparam("after")
    )
    some = (
        after.where(Follow.follower_id <= bindparam("upto"))
        .order_by(Follow.follower_id)
        .limit(bindparam("count"))
    )
    return select(_joined(some.subquery().c.follower_id, is_sqlite))


@cache
def _of_each(is_sqlite: bool) -> Select[int, str]:
    columns = (Follow.followee_id, _joined(Follow.follower_id, is_sqlite).label("joined"))
    return (
        select(*columns)
        .where(Follow.followee_id.in_(bindparam("followees", expanding=True)))
        .group_by(Follow.followee_id)
    )


def _joined(
    ids: ColumnElement[int] | InstrumentedAttribute[int], is_sqlite: bool
) -> ColumnElement[str]:
    """Return an aggregate: the ids, ascending, in one comma-separated text."""
    if is_sqlite:  # joins the rows in the order in which it reads them: the order of the key
        return func.group_concat(ids)
    return func.string_agg(cast(ids, String), aggregate_order_by(literal_column("','"), ids))


def batch_number(
    stores: Stores, connection: Connection, followee: int, follower: int
) -> int | None:
    """Return the number, from 1, of the batch that delivers to the follower; None if not following.

    It is computed from the current followers, so it may change while a fan-out runs.
    """
    upto = select(func.count(), func.max(Follow.follower_id)).where(
        Follow.followee_id == followee, Follow.follower_id <= follower
    )
    rank, last = connection.execute(upto).one()
    return (rank - 1) // stores.limits.fanout_batch + 1 if last == follower else None
