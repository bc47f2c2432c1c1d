"""Accounts: created when they are first seen, locked while an edge changes, and deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.errors import Conflict, NotFound
from feedsvc.outbox import Followed, PostsDeleted, RelationsChanged
from feedsvc.paging import Kind, Page
from feedsvc.routing import next_route
from feedsvc.store.sql import highest_id
from feedsvc.store.sql.keyset import key_page
from feedsvc.store.sql.tables import Account, Block, Fanout, Follow, IdempotencyKey, Mute, Pin, Post

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection
    from sqlalchemy.orm import InstrumentedAttribute

    from feedsvc.store import Stores

_STEP_ROWS = 1_000

_LOCK = (
    sa.select(Account.id)
    .where(Account.id.in_(sa.bindparam("accounts", expanding=True)), ~Account.deleting)
    .order_by(Account.id)
    .with_for_update()
)


@dataclass(frozen=True)
class AccountInfo:
    """An account, with the route that its next post would take.

    Only the id is known of an account that is hidden from the viewer, because one blocks the other.
    """

    id: int
    follower_count: int | None
    following_count: int | None
    route: str | None


def create(stores: Stores, account: int) -> bool:
    """Create the account unless it exists. Returns whether it is new.

    Raises `Conflict` while the account is being deleted.
    """
    with stores.sql.writing() as connection:
        is_new = stores.sql.insert_if_absent(connection, Account, {"id": account})
        deleting = sa.select(Account.deleting).where(Account.id == account)
        if not is_new and connection.scalar(deleting):
            raise Conflict(f"Account {account} is being deleted. Try again when that is done.")
    return is_new


def ensure(stores: Stores, account: int) -> None:
    """Create the account unless it exists, without a write if it does.

    Raises `Conflict` while the account is being deleted.
    """
    with stores.sql.reading() as connection:
        if connection.scalar(sa.select(Account.deleting).where(Account.id == account)) is False:
            return
    create(stores, account)


def get(stores: Stores, account: int) -> AccountInfo:
    """Return one account. Raises `NotFound`."""
    with stores.sql.reading() as connection:
        return infos(stores, connection, [require(connection, account)])[0]


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
    """Lock accounts until the transaction ends. Raises `NotFound` if one of them is absent."""
    existing = lock_existing(connection, accounts)
    for account in accounts:
        if account not in existing:
            raise NotFound("account", account)


def infos(
    stores: Stores, connection: Connection, accounts: list[int], viewer: int | None = None
) -> list[AccountInfo]:
    """Return accounts in the order of `accounts`, as the viewer sees them. Leaves out absent ones.

    `viewer=None` means the backend of the app, which sees everything.
    """
    columns = (Account.id, Account.follower_count, Account.following_count, Account.last_route)
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


def delete(stores: Stores, account: int) -> None:
    """Delete the account, its posts and its edges, in steps that may be repeated.

    The account is marked first: from then on no row is added to it. Its own row goes last, so a
    deletion that was cut short can be requested again. Raises `NotFound`.
    """
    with stores.sql.writing() as connection:
        lock_existing(connection, [account])  # waits for an import that names the account
        mark = sa.update(Account).where(Account.id == account).values(deleting=True)
        is_there = connection.execute(mark).rowcount > 0
    if not is_there:
        outbox.apply_pending(stores, account)
        raise NotFound("account", account)
    while _remove_posts(stores, account) or _remove_edges(stores, account):
        pass
    outbox.apply_pending(stores, account)
    _remove_row(stores, account)


def _hidden_from(connection: Connection, viewer: int, accounts: list[int]) -> set[int]:
    """Return the accounts that block the viewer or that the viewer blocks."""
    blocks_viewer = sa.select(Block.account_id).where(
        Block.blocked_id == viewer, Block.account_id.in_(accounts)
    )
    is_blocked = sa.select(Block.blocked_id).where(
        Block.account_id == viewer, Block.blocked_id.in_(accounts)
    )
    return set(connection.scalars(sa.union(blocks_viewer, is_blocked)))


def _remove_posts(stores: Stores, account: int) -> int:
    """Delete up to a thousand posts of the account. Returns their number."""
    query = sa.select(Post.id).where(Post.author_id == account).order_by(Post.id).limit(_STEP_ROWS)
    with outbox.transaction(stores) as transaction:
        connection = transaction.connection
        # A transaction that changes both locks a post before its fan-out.
        post_ids = list(connection.scalars(query.with_for_update()))
        connection.execute(sa.delete(Fanout).where(Fanout.post_id.in_(post_ids)))
        highest_id.remove_posts(connection, post_ids)
        transaction.add(PostsDeleted(account, post_ids))
    return len(post_ids)


def _remove_edges(stores: Stores, account: int) -> int:
    """Delete up to a thousand follows of one direction, and count them off at their other ends.

    Returns their number.
    """
    ends = (
        (Follow.followee_id, Follow.follower_id, Account.following_count),
        (Follow.follower_id, Follow.followee_id, Account.follower_count),
    )
    with outbox.transaction(stores) as transaction:
        connection = transaction.connection
        for mine, theirs, count in ends:
            query = sa.select(theirs).where(mine == account).order_by(theirs).limit(_STEP_ROWS)
            others = list(connection.scalars(query))
            if others:
                edges = sa.delete(Follow).where(mine == account, theirs.in_(others))
                removed = list(connection.scalars(edges.returning(theirs)))
                _count_off(connection, removed, count)
                transaction.add(RelationsChanged([account, *others]))
                return len(others)
    return 0


def _count_off(
    connection: Connection, accounts: list[int], count: InstrumentedAttribute[int]
) -> None:
    lock_existing(connection, accounts)
    connection.execute(
        sa.update(Account).where(Account.id.in_(accounts)).values({count: count - 1})
    )


def _remove_row(stores: Stores, account: int) -> None:
    rows = (
        (IdempotencyKey, IdempotencyKey.account_id),
        (Pin, Pin.account_id),
        (Mute, Mute.account_id),
        (Mute, Mute.muted_id),
        (Block, Block.account_id),
        (Block, Block.blocked_id),
        (Account, Account.id),
    )
    with outbox.transaction(stores) as transaction:
        for table, column in rows:
            transaction.connection.execute(sa.delete(table).where(column == account))
        transaction.add(Followed(account))
