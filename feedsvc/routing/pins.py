"""Pin accounts to a route, and show which route an account's next post takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from feedsvc.errors import BeingDeleted, NotFound
from feedsvc.paging import Kind, Page
from feedsvc.routing.next_route import NOT_EXPIRED, decider
from feedsvc.store.sql import clock
from feedsvc.store.sql.keyset import key_page
from feedsvc.store.sql.tables import Account, Pin

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection

    from feedsvc.routing.policy import Route
    from feedsvc.store import Stores

_PINS = select(*Pin.__table__.columns).where(NOT_EXPIRED)


@dataclass(frozen=True)
class PinInfo:
    """One pin. It ends at `expires_at`. If that is None, it stands until an operator removes it."""

    account_id: int
    route: Route
    reason: str
    expires_at: dt.datetime | None
    pinned_by: str
    pinned_at: dt.datetime


@dataclass(frozen=True)
class RouteInfo:
    """The route of an account's next post, and why."""

    account_id: int
    route: Route
    why: str
    follower_count: int
    policy_version: int
    pin: PinInfo | None


def route_of(stores: Stores, account: int) -> RouteInfo:
    """Return the route of the account's next post. Raises `NotFound`."""
    found = select(Account.follower_count, Account.last_route)
    with stores.sql.reading() as connection:
        row = connection.execute(found.where(Account.id == account, ~Account.deleting)).first()
        if row is None:
            raise NotFound("account", account)
        pinned = connection.execute(_PINS.where(Pin.account_id == account)).first()
        decide = decider(stores, connection, [account])
        decision = decide(account, row.follower_count, row.last_route)
    return RouteInfo(
        account,
        decision.route,
        decision.why,
        row.follower_count,
        decision.policy_version,
        PinInfo(**pinned._asdict()) if pinned else None,
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
    """Pin the account to a route, in place of an earlier pin.

    Raises `NotFound`, and `BeingDeleted` while the account is being deleted.

    The pin ends at `expires_at`. If `expires_at` is None, it stands until it is removed.
    """
    with stores.sql.writing() as connection:
        if not _lock(connection, account):
            raise NotFound("account", account)
        connection.execute(delete(Pin).where(Pin.account_id == account))
        info = PinInfo(account, route, reason, expires_at, pinned_by, clock.read(connection))
        connection.execute(insert(Pin), vars(info))
    return route_of(stores, account)


def unpin(stores: Stores, account: int) -> None:
    """Remove the account's pin, if it has one. The threshold decides again.

    Raises `BeingDeleted` while the account is being deleted.
    """
    with stores.sql.writing() as connection:
        _lock(connection, account)
        connection.execute(delete(Pin).where(Pin.account_id == account))


def pins(stores: Stores, cursor: str | None, limit: int) -> Page[PinInfo]:
    """Return the pins that have not expired, by account id, descending."""
    with stores.sql.reading() as connection:
        page = key_page(connection, Kind.PINS, _PINS, Pin.account_id, cursor, limit)
    infos = [PinInfo(**row._asdict()) for row in page.items]
    return Page(infos, page.next_cursor, page.prev_cursor)


def _lock(connection: Connection, account: int) -> bool:
    """Lock the account until the transaction ends. Return whether it exists.

    Raises `BeingDeleted` while the account is being deleted.
    """
    is_deleting = select(Account.deleting).where(Account.id == account).with_for_update()
    found = connection.scalar(is_deleting)
    if found:
        raise BeingDeleted(account)
    return found is not None
