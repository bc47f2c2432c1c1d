"""The followers of an account, a batch at a time, by keyset: an offset would skip and repeat people while others come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import String, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from feedsvc.store.sql.tables import Follow

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from feedsvc.store import Stores


def batch(stores: Stores, connection: Connection, followee: int, after: int, count: int) -> list[str]:
    """Up to `count` follower ids above `after`, ascending, as decimal strings.

    The database joins them: 10,000 rows would become 10,000 Python objects twice, once as integers and once as strings
    (measured: 1.9 M ids/s as rows and 2.6 M as one string on PostgreSQL, 3.6 M and 7.2 M on SQLite).
    """
    rows = (
        select(Follow.follower_id)
        .where(Follow.followee_id == followee, Follow.follower_id > after)
        .order_by(Follow.follower_id)
        .limit(count)
        .subquery()
    )
    joined: ColumnElement[str | None]
    if stores.sql.is_sqlite:  # takes the rows in the order of the subquery
        joined = func.group_concat(rows.c.follower_id)
    else:
        as_text = cast(rows.c.follower_id, String)
        joined = func.string_agg(as_text, aggregate_order_by(literal_column("','"), rows.c.follower_id))
    text = connection.scalar(select(joined))
    return text.split(",") if text else []
