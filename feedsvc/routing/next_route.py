"""Read the inputs of a routing decision, and decide the route of an account's next post.

The inputs are the account's pin, the policy versions, and load shedding. Each upload reads them
from SQL, so a change governs the next upload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, or_, select

from feedsvc.routing.policy import Decision, LoadShedding, Route, Thresholds, decide, governing
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import LoadSheddingLine, Pin, Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.store import Stores

# Version 1 comes from the settings. It is stored when an operator adds the first change.
FIRST_VERSION = 1
ALL_ACCOUNTS = 100  # the rollout_percent of a version that governs every account
NOT_EXPIRED = or_(Pin.expires_at.is_(None), Pin.expires_at > db_time())

_PINNED = select(Pin.account_id, Pin.route).where(NOT_EXPIRED)
_PINNED_OF = _PINNED.where(Pin.account_id.in_(bindparam("accounts", expanding=True)))
_NEWEST = (
    select(Policy.version, Policy.promote_at, Policy.demote_at, Policy.rollout_percent)
    .order_by(Policy.version.desc())
    .limit(1)
)
_NEWEST_FOR_ALL = _NEWEST.where(Policy.rollout_percent == ALL_ACCOUNTS)
_SHEDDING = select(
    LoadSheddingLine.pull_from, LoadSheddingLine.delivery_seconds, LoadSheddingLine.since
)


def decider(
    stores: Stores, connection: Connection, accounts: list[int]
) -> Callable[[int, int, Route | None], Decision]:
    """Read the inputs once, and return a function that decides for each account in `accounts`.

    The function takes an account, its followers and its last route, which is the route of its
    latest post that load shedding did not pull. Do not call the function for another account: its
    pin would be ignored.
    """
    latest, settled = latest_and_settled(stores, connection)
    shedding = current_shedding(connection)
    rows = connection.execute(_PINNED_OF, {"accounts": accounts})
    pinned = {row.account_id: row.route for row in rows}

    def decide_for(account: int, followers: int, last_route: Route | None) -> Decision:
        policy = governing(account, latest, settled)
        return decide(followers, last_route, policy, pinned.get(account), shedding)

    return decide_for


def latest_and_settled(stores: Stores, connection: Connection) -> tuple[Thresholds, Thresholds]:
    """Return the latest version, and the last version that was rolled out to all accounts.

    The two differ only during a gradual rollout.
    """
    first = Thresholds(FIRST_VERSION, stores.limits.promote_at, stores.limits.demote_at)
    newest = connection.execute(_NEWEST).first()
    latest = Thresholds(*newest) if newest else first
    if latest.rollout_percent == ALL_ACCOUNTS:
        return latest, latest
    newest_for_all = connection.execute(_NEWEST_FOR_ALL).first()
    return latest, Thresholds(*newest_for_all) if newest_for_all else first


def current_shedding(connection: Connection) -> LoadShedding | None:
    """Return the load shedding that is going on; None if there is none."""
    row = connection.execute(_SHEDDING).first()
    return LoadShedding(*row) if row else None


def pinned_routes(connection: Connection) -> dict[int, Route]:
    """Return the route of every account with a pin that has not expired."""
    return {row.account_id: row.route for row in connection.execute(_PINNED)}
