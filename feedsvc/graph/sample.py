"""Drawing a random sample of accounts by key, without counting or scanning a table."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.store.sql.tables import Account

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.store import Stores

# The lowest and the highest id of a range that may have accounts which were not drawn yet.
_Range = tuple[int, int]


def draw(stores: Stores, count: int | None, run: int = 1) -> list[int]:
    """Return up to `count` random accounts, each once. For None return all, in ascending order.

    Accounts that are being deleted are left out. The sample comes in runs of `run` neighbours,
    because each run costs a query, and a search through the ranges that are left.
    """
    with stores.sql.reading() as connection:
        if count is None:
            return list(
                connection.scalars(
                    sa.select(Account.id).where(~Account.deleting).order_by(Account.id)
                )
            )
        # Two queries: SQLite would scan the table for both in one.
        lowest, highest = (
            connection.scalar(sa.select(end(Account.id))) for end in (sa.func.min, sa.func.max)
        )
        drawn: list[int] = []
        ranges = [] if lowest is None or highest is None else [(lowest, highest)]
        while ranges and len(drawn) < count:
            drawn += _next(connection, ranges, min(run, count - len(drawn)))
        return drawn


def _next(connection: Connection, ranges: list[_Range], run: int) -> list[int]:
    """Return a run of accounts from a random id on, and take its ids out of the ranges.

    So no account is drawn twice. A wide gap between ids costs only a few draws, and the accounts
    below the gap are still drawn.
    """
    sizes = [high - low + 1 for low, high in ranges]
    [at] = random.choices(range(len(ranges)), sizes)  # noqa: S311 -- no secret
    low, high = ranges[at]
    start = random.randint(low, high)  # noqa: S311
    rows = connection.execute(
        sa.select(Account.id, Account.deleting)
        .where(Account.id >= start, Account.id <= high)
        .order_by(Account.id)
        .limit(run)
    ).all()
    end = rows[-1].id if len(rows) == run else high
    ranges[at] = ranges[-1]
    ranges.pop()
    ranges += [
        (first, last) for first, last in ((low, start - 1), (end + 1, high)) if first <= last
    ]
    return [row.id for row in rows if not row.deleting]
