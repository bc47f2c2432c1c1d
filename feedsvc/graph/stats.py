"""The distribution of follower counts, counted in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.routing import versions
from feedsvc.store.sql.tables import Account, Follow

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.store import Stores

_PERCENTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True)
class GraphStats:
    """Counts of accounts by followers.

    `by_decade` maps each of 0, 1, 10, 100 … to the number of accounts that have at least as many
    followers, and fewer than the next.
    """

    accounts: int
    follows: int
    mean: float
    percentiles: dict[str, int]
    largest: int
    above_20: int
    promote_at: int
    pulled: int
    by_decade: dict[int, int]


def graph_stats(stores: Stores) -> GraphStats:
    """Return the current distribution."""
    promote_at = versions.current(stores).promote_at
    followers = Account.follower_count
    with stores.sql.reading() as connection:
        accounts, largest = connection.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.max(followers), 0))
        ).one()
        decades = [10**power for power in range(len(str(largest)))] if largest else []
        follows = connection.scalar(sa.select(sa.func.count()).select_from(Follow)) or 0
        return GraphStats(
            accounts=accounts,
            follows=follows,
            mean=round(follows / accounts, 2) if accounts else 0.0,
            percentiles={
                name: _percentile(connection, accounts, share)
                for name, share in _PERCENTILES.items()
            },
            largest=largest,
            above_20=_between(connection, 21, None),
            promote_at=promote_at,
            pulled=_between(connection, promote_at, None),
            by_decade={0: _between(connection, 0, 1)}
            | {low: _between(connection, low, low * 10) for low in decades},
        )


def _percentile(connection: Connection, accounts: int, share: float) -> int:
    at = (
        sa.select(Account.follower_count)
        .order_by(Account.follower_count)
        .offset(int(accounts * share))
        .limit(1)
    )
    return connection.scalar(at) or 0


def _between(connection: Connection, lowest: int, below: int | None) -> int:
    query = sa.select(sa.func.count()).select_from(Account).where(Account.follower_count >= lowest)
    if below is not None:
        query = query.where(Account.follower_count < below)
    return connection.scalar(query) or 0
