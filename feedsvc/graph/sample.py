"""A random sample of accounts, drawn by key: no table is counted or scanned."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.store.sql.tables import Account

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.store import Stores

# Ids among which accounts that were not drawn may be: the lowest and the highest.
_Range = tuple[int, int]


def draw(stores: Stores, count: int | None, run: int = 1) -> list[int]:
    """Up to `count` accounts at random, each once; all of them, in order, for None. Those that are being deleted are left out.

    They come in runs of neighbours: a draw costs a query, and a look at all the draws before it.
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
        unknown = [] if lowest is None or highest is None else [(lowest, highest)]
        while unknown and len(drawn) < count:
            drawn += _next(connection, unknown, min(run, count - len(drawn)))
        return drawn


def _next(connection: Connection, unknown: list[_Range], run: int) -> list[int]:
    """The accounts from a random id on, as many as a run is long and there are; rules out the ids that are known then.

    So no account is drawn again, and a wide gap between ids costs a few draws, not the accounts below it their turn.
    """
    [at] = random.choices(range(len(unknown)), [high - low + 1 for low, high in unknown])  # noqa: S311 -- nobody gains by guessing
    low, high = unknown[at]
    start = random.randint(low, high)  # noqa: S311
    rows = connection.execute(
        sa.select(Account.id, Account.deleting)
        .where(Account.id >= start, Account.id <= high)
        .order_by(Account.id)
        .limit(run)
    ).all()
    end = rows[-1].id if len(rows) == run else high
    unknown[at] = unknown[-1]
    unknown.pop()
    unknown += [
        (first, last) for first, last in ((low, start - 1), (end + 1, high)) if first <= last
    ]
    return [row.id for row in rows if not row.deleting]
