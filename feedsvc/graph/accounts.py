"""Accounts: made at first sight, deleted for good."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from feedsvc import outbox
from feedsvc.errors import Conflict, NotFound
from feedsvc.outbox import Followed, PostsDeleted, RelationsChanged
from feedsvc.routing import next_route
from feedsvc.store.sql.tables import Account, Block, Fanout, Follow, IdempotencyKey, Mute, Pin, Post

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection
    from sqlalchemy.orm import InstrumentedAttribute

    from feedsvc.store import Stores
    from feedsvc.store.sql.tables import Base

_STEP_ROWS = 1_000

_HELD = (
    sa.select(Account.id)
    .where(Account.id.in_(sa.bindparam("accounts", expanding=True)), ~Account.deleting)
    .order_by(Account.id)
    .with_for_update()
)


@dataclass(frozen=True)
class AccountInfo:
    """An account, and the route that its next post would take."""

    id: int
    follower_count: int
    following_count: int
    route: str


def create(stores: Stores, account: int) -> bool:
    """Make the account if it is not there; True if it is new. Raises `Conflict` while it is being deleted."""
    with stores.sql.writing() as connection:
        made = insert_if_absent(stores, connection, Account, {"id": account})
        if not made and connection.scalar(sa.select(Account.deleting).where(Account.id == account)):
            raise Conflict(f"Account {account} is being deleted. Try again when that is done.")
    return made


def ensure(stores: Stores, account: int) -> None:
    """Make the account unless it is there. Raises `Conflict` while it is being deleted."""
    with stores.sql.reading() as connection:
        if connection.scalar(sa.select(Account.deleting).where(Account.id == account)) is False:
            return
    create(stores, account)


def get(stores: Stores, account: int) -> AccountInfo:
    """One account. Raises `NotFound`."""
    with stores.sql.reading() as connection:
        return infos(stores, connection, [require(connection, account)])[0]


def require(connection: Connection, account: int) -> int:
    """The account's id, if there is such an account; else raises `NotFound`."""
    if (
        connection.scalar(sa.select(Account.id).where(Account.id == account, ~Account.deleting))
        is None
    ):
        raise NotFound("account", account)
    return account


def hold(connection: Connection, accounts: Iterable[int]) -> set[int]:
    """Lock these accounts until the transaction ends, in one order for everybody; returns those that are there."""
    return set(connection.scalars(_HELD, {"accounts": list(set(accounts))}))


def lock(connection: Connection, *accounts: int) -> None:
    """`hold` them all. Raises `NotFound` for one that is not there."""
    there = hold(connection, accounts)
    for account in accounts:
        if account not in there:
            raise NotFound("account", account)


def infos(stores: Stores, connection: Connection, accounts: list[int]) -> list[AccountInfo]:
    """These accounts, which exist, in this order."""
    columns = sa.select(
        Account.id, Account.follower_count, Account.following_count, Account.last_route
    )
    rows = {row.id: row for row in connection.execute(columns.where(Account.id.in_(accounts)))}
    decide = next_route.decider(stores, connection, accounts)
    return [
        AccountInfo(
            row.id,
            row.follower_count,
            row.following_count,
            decide(row.id, row.follower_count, row.last_route).route,
        )
        for row in (rows[account] for account in accounts if account in rows)
    ]


def delete(stores: Stores, account: int) -> None:
    """Remove the account, its posts and its edges, in steps that may be repeated. Raises `NotFound`.

    The mark comes first: from then on nothing is added to it. Its row goes last, so a deletion that was cut short can be asked
    for again.
    """
    with stores.sql.writing() as connection:
        hold(connection, [account])  # an import that names it ends first
        marked = connection.execute(
            sa.update(Account).where(Account.id == account).values(deleting=True)
        ).rowcount
    if not marked:
        outbox.apply_pending(stores, account)
        raise NotFound("account", account)
    while _remove_posts(stores, account) or _remove_edges(stores, account):
        pass
    outbox.apply_pending(stores, account)
    _remove_row(stores, account)


def insert_if_absent(
    stores: Stores, connection: Connection, table: type[Base], row: dict[str, Any]
) -> bool:
    """Insert a row unless its key is taken; whether it was inserted."""
    return connection.execute(_inserted(table, stores.sql.is_sqlite), row).first() is not None


@cache
def _inserted(table: type[Base], is_sqlite: bool) -> sa.Insert:
    inserted: sa.Insert = (
        (sqlite if is_sqlite else postgresql).insert(table).on_conflict_do_nothing()
    )
    return inserted.returning(sa.literal(1))


def _remove_posts(stores: Stores, account: int) -> int:
    with outbox.transaction(stores) as transaction:
        query = (
            sa.select(Post.id).where(Post.author_id == account).order_by(Post.id).limit(_STEP_ROWS)
        )
        post_ids = list(
            transaction.connection.scalars(query.with_for_update())
        )  # whoever changes both holds a post before its fan-out
        transaction.connection.execute(sa.delete(Fanout).where(Fanout.post_id.in_(post_ids)))
        transaction.connection.execute(sa.delete(Post).where(Post.id.in_(post_ids)))
        transaction.add(PostsDeleted(account, post_ids))
    return len(post_ids)


def _remove_edges(stores: Stores, account: int) -> int:
    """Remove a thousand edges at the most, of one direction, and keep the counts of the other ends."""
    with outbox.transaction(stores) as transaction:
        ends = (
            (Follow.followee_id, Follow.follower_id, Account.following_count),
            (Follow.follower_id, Follow.followee_id, Account.follower_count),
        )
        for mine, theirs, count in ends:
            others = list(
                transaction.connection.scalars(
                    sa.select(theirs).where(mine == account).order_by(theirs).limit(_STEP_ROWS)
                )
            )
            if others:
                edges = (
                    sa.delete(Follow).where(mine == account, theirs.in_(others)).returning(theirs)
                )
                _take_one_off(
                    transaction.connection, list(transaction.connection.scalars(edges)), count
                )
                transaction.add(RelationsChanged([account, *others]))
                return len(others)
    return 0


def _take_one_off(
    connection: Connection, accounts: list[int], count: InstrumentedAttribute[int]
) -> None:
    hold(connection, accounts)
    connection.execute(
        sa.update(Account).where(Account.id.in_(accounts)).values({count: count - 1})
    )


def _remove_row(stores: Stores, account: int) -> None:
    with outbox.transaction(stores) as transaction:
        mine = (
            (IdempotencyKey, IdempotencyKey.account_id),
            (Pin, Pin.account_id),
            (Mute, Mute.account_id),
            (Mute, Mute.muted_id),
            (Block, Block.account_id),
            (Block, Block.blocked_id),
            (Account, Account.id),
        )
        for table, column in mine:
            transaction.connection.execute(sa.delete(table).where(column == account))
        transaction.add(Followed(account))
