"""Accounts: created when they are first seen, and locked while an edge changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.errors import BeingDeleted, NotFound
from feedsvc.paging import Kind, Page
from feedsvc.routing import next_route
from feedsvc.store.sql.keyset import key_page
from feedsvc.store.sql.tables import Account, Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import InstrumentedAttribute

    from feedsvc.store import Stores

_LOCK = (
    sa.select(Account.id)
    .where(Account.id.in_(sa.bindparam("accounts", expanding=True)), ~Account.deleting)
    .order_by(Account.id)
    .with_for_update()
)


@dataclass(frozen=True)
class AccountInfo:
    """An account, with the route that its next post would take.

    If the account blocks the viewer, or the viewer blocks the account, only `id` is set. `deleting`
    is true while the account is being deleted.
    """

    id: int
    follower_count: int | None
    following_count: int | None
    route: str | None
    deleting: bool = False


def create(stores: Stores, account: int) -> bool:
    """Create the account unless it exists. Returns whether it is new.

    Raises `BeingDeleted` while the account is being deleted.
    """
    with stores.sql.writing() as connection:
        is_new = stores.sql.insert_if_absent(connection, Account, {"id": account})
        if not is_new:
            refuse_deleting(connection, [account])
    return is_new


def ensure(stores: Stores, account: int) -> None:
    """Create the account unless it exists. Write nothing if it exists.

    An account that is being deleted still exists.
    """
    with stores.sql.reading() as connection:
        if connection.scalar(sa.select(Account.id).where(Account.id == account)) is not None:
            return
    with stores.sql.writing() as connection:
        stores.sql.insert_if_absent(connection, Account, {"id": account})


def get(stores: Stores, account: int) -> AccountInfo:
    """Return one account, also one that is being deleted. Raises `NotFound`."""
    with stores.sql.reading() as connection:
        found = infos(stores, connection, [account])
    if not found:
        raise NotFound("account", account)
    return found[0]


def require(connection: Connection, account: int) -> int:
    """Return the account's id. Raises `NotFound` if the account is absent or being deleted."""
    query = sa.select(Account.id).where(Account.id == account, ~Account.deleting)
    if connection.scalar(query) is None:
        raise NotFound("account", account)
    return account


def lock_existing(connection: Connection, accounts: Iterable[int]) -> set[int]:
    """Lock accounts until the transaction ends. Returns the ids that exist.

    All transactions lock in ascending order, so there is no deadlock.
    """
    return set(connection.scalars(_LOCK, {"accounts": list(set(accounts))}))


def lock(connection: Connection, *accounts: int) -> None:
    """Lock accounts until the transaction ends.

    Raises `NotFound` if one of them is absent, and `BeingDeleted` if one is being deleted.
    """
    existing = lock_existing(connection, accounts)
    refuse_deleting(connection, accounts)
    for account in accounts:
        if account not in existing:
            raise NotFound("account", account)


def refuse_deleting(connection: Connection, accounts: Sequence[int]) -> None:
    """Raise `BeingDeleted` if one of the accounts is being deleted."""
    query = sa.select(Account.id).where(Account.id.in_(accounts), Account.deleting)
    for account in connection.scalars(query):
        raise BeingDeleted(account)


def infos(
    stores: Stores, connection: Connection, accounts: list[int], viewer: int | None = None
) -> list[AccountInfo]:
    """Return accounts in the order of `accounts`, as the viewer sees them. Leaves out absent ones.

    `viewer=None` means the backend of the app, which sees everything.
    """
    columns = (
        Account.id,
        Account.follower_count,
        Account.following_count,
        Account.last_route,
        Account.deleting,
    )
    query = sa.select(*columns).where(Account.id.in_(accounts))
    rows = {row.id: row for row in connection.execute(query)}
    decide = next_route.decider(stores, connection, accounts)
    hidden = set() if viewer is None else _hidden_from(connection, viewer, accounts)
    return [
        AccountInfo(row.id, None, None, None)
        if row.id in hidden
        else AccountInfo(
            row.id,
            row.follower_count,
            row.following_count,
            decide(row.id, row.follower_count, row.last_route).route,
            row.deleting,
        )
        for row in (rows[account] for account in accounts if account in rows)
    ]


def related(
    stores: Stores,
    kind: Kind,
    account: int,
    edge: tuple[InstrumentedAttribute[int], InstrumentedAttribute[int]],
    cursor: str | None,
    limit: int,
    viewer: int | None,
) -> Page[AccountInfo]:
    """Return one page of the accounts at the other end of an account's edges, by id, descending.

    `edge` has the column of the account and the column of the other end. Raises `NotFound`.
    """
    mine, theirs = edge
    with stores.sql.reading() as connection:
        require(connection, account)
        query = sa.select(theirs).where(mine == account)
        page = key_page(connection, kind, query, theirs, cursor, limit)
        found = infos(stores, connection, [row[0] for row in page.items], viewer)
    return Page(found, page.next_cursor, page.prev_cursor)


def _hidden_from(connection: Connection, viewer: int, accounts: list[int]) -> set[int]:
    """Return the accounts that block the viewer or that the viewer blocks."""
    blocks_viewer = sa.select(Block.account_id).where(
        Block.blocked_id == viewer, Block.account_id.in_(accounts)
    )
    is_blocked = sa.select(Block.blocked_id).where(
        Block.account_id == viewer, Block.blocked_id.in_(accounts)
    )
    return set(connection.scalars(sa.union(blocks_viewer, is_blocked)))
