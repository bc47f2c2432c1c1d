"""Accounts whose route an operator has fixed, and the answer to "which route, and why?"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, insert, or_, select

from feedsvc.errors import NotFound
from feedsvc.paging import Kind, Page
from feedsvc.routing import load_shedding, versions
from feedsvc.routing.policy import Decision, Route, decide, governing
from feedsvc.store.sql.database import now
from feedsvc.store.sql.keyset import key_page
from feedsvc.store.sql.tables import Account, Pin

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from sqlalchemy import Connection

    from feedsvc.store import Stores

    # account, followers, route of its latest post -> the route of its next one
    Decider = Callable[[int, int, Route | None], Decision]

_STANDS = or_(Pin.expires_at.is_(None), Pin.expires_at > bindparam("now"))
_STANDING = select(Pin.account_id, Pin.route).where(_STANDS)
_STANDING_OF = _STANDING.where(Pin.account_id.in_(bindparam("accounts", expanding=True)))


@dataclass(frozen=True)
class PinInfo:
    """One pin."""

    account_id: int
    route: Route
    reason: str
    expires_at: dt.datetime | None
    pinned_by: str
    pinned_at: dt.datetime


@dataclass(frozen=True)
class RouteInfo:
    """The route that an account's next post would take, and why."""

    account_id: int
    route: Route
    why: str
    follower_count: int
    policy_version: int
    pin: PinInfo | None


def decider(stores: Stores, connection: Connection, accounts: list[int]) -> Decider:
    """What decides the route of the next post of these accounts: pins, the versions that govern them, relief; read once."""
    latest, settled = versions.latest_and_settled(stores, connection)
    relieving = load_shedding.standing(connection)
    pinned = {
        row.account_id: row.route
        for row in connection.execute(_STANDING_OF, {"now": now(), "accounts": accounts})
    }

    def decide_for(account: int, followers: int, last_route: Route | None) -> Decision:
        return decide(
            followers,
            last_route,
            governing(account, latest, settled),
            pinned.get(account),
            relieving,
        )

    return decide_for


def standing(connection: Connection) -> dict[int, Route]:
    """The routes of all accounts with a pin that stands."""
    return {row.account_id: row.route for row in connection.execute(_STANDING, {"now": now()})}


def route_of(stores: Stores, account: int) -> RouteInfo:
    """The account's route and why. Raises `NotFound`."""
    with stores.sql.reading() as connection:
        row = connection.execute(
            select(Account.follower_count, Account.last_route).where(
                Account.id == account, ~Account.deleting
            )
        ).first()
        if row is None:
            raise NotFound("account", account)
        pin = connection.execute(
            select(*Pin.__table__.columns).where(Pin.account_id == account, _STANDS), {"now": now()}
        ).first()
        chosen = decider(stores, connection, [account])(account, row.follower_count, row.last_route)
    info = PinInfo(**pin._mapping) if pin else None  # noqa: SLF001 -- the public name for a row as a mapping
    return RouteInfo(
        account, chosen.route, chosen.why, row.follower_count, chosen.policy_version, info
    )


def pin(
    stores: Stores,
    account: int,
    *,
    route: Route,
    reason: str,
    expires_at: dt.datetime | None,
    pinned_by: str,
) -> RouteInfo:
    """Fix the account's route, for good or until `expires_at`; an earlier pin is replaced. Raises `NotFound`."""
    with stores.sql.writing() as connection:
        if (
            connection.scalar(
                select(Account.id).where(Account.id == account, ~Account.deleting).with_for_update()
            )
            is None
        ):
            raise NotFound("account", account)
        connection.execute(delete(Pin).where(Pin.account_id == account))
        connection.execute(
            insert(Pin), vars(PinInfo(account, route, reason, expires_at, pinned_by, now()))
        )
    return route_of(stores, account)


def unpin(stores: Stores, account: int) -> None:
    """Let the threshold decide again; no pin is no error."""
    with stores.sql.writing() as connection:
        connection.execute(delete(Pin).where(Pin.account_id == account))


def pins(stores: Stores, cursor: str | None, limit: int) -> Page[PinInfo]:
    """The pins that stand, by account, descending."""
    with stores.sql.reading() as connection:
        query = select(*Pin.__table__.columns).where(_STANDS).params(now=now())
        page = key_page(connection, Kind.PINS, query, Pin.account_id, cursor, limit)
    return Page([PinInfo(**row._mapping) for row in page.items], page.next_cursor, page.prev_cursor)  # noqa: SLF001
