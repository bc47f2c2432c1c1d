"""Mutes and blocks: whom an account does not want to see, and who must not see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.errors import Invalid
from feedsvc.graph import accounts
from feedsvc.graph.follows import remove_edge, with_infos
from feedsvc.outbox import RelationsChanged
from feedsvc.paging import Kind, Page
from feedsvc.store.sql.keyset import key_page
from feedsvc.store.sql.tables import Block, Mute

if TYPE_CHECKING:
    from feedsvc.graph.accounts import AccountInfo
    from feedsvc.store import Stores


def mute(stores: Stores, account: int, muted: int) -> None:
    """Hide `muted`'s posts from `account`; again is no error. Raises `NotFound`, or `Invalid` for oneself."""
    _not_oneself(account, muted, "muted", "mute")
    with outbox.transaction(stores) as transaction:
        accounts.lock(transaction.connection, account, muted)
        accounts.insert_if_absent(
            stores, transaction.connection, Mute, {"account_id": account, "muted_id": muted}
        )
        transaction.add(RelationsChanged([account]))


def unmute(stores: Stores, account: int, muted: int) -> None:
    """Show them again; not muted is no error. Raises `NotFound`."""
    with outbox.transaction(stores) as transaction:
        accounts.lock(transaction.connection, account, muted)
        transaction.connection.execute(
            sa.delete(Mute).where(Mute.account_id == account, Mute.muted_id == muted)
        )
        transaction.add(RelationsChanged([account]))


def block(stores: Stores, account: int, blocked: int) -> None:
    """Hide each from the other and end the follows both ways; again is no error. Raises `NotFound`, or `Invalid` for oneself."""
    _not_oneself(account, blocked, "blocked", "block")
    with outbox.transaction(stores) as transaction:
        accounts.lock(transaction.connection, account, blocked)
        accounts.insert_if_absent(
            stores, transaction.connection, Block, {"account_id": account, "blocked_id": blocked}
        )
        remove_edge(transaction.connection, account, blocked)
        remove_edge(transaction.connection, blocked, account)
        transaction.add(RelationsChanged([account, blocked]))


def unblock(stores: Stores, account: int, blocked: int) -> None:
    """Lift a block; the follows do not come back. Not blocked is no error. Raises `NotFound`."""
    with outbox.transaction(stores) as transaction:
        accounts.lock(transaction.connection, account, blocked)
        transaction.connection.execute(
            sa.delete(Block).where(Block.account_id == account, Block.blocked_id == blocked)
        )
        transaction.add(RelationsChanged([account, blocked]))


def mutes(stores: Stores, account: int, cursor: str | None, limit: int) -> Page[AccountInfo]:
    """Whom the account has muted, by id, descending. Raises `NotFound`."""
    query = sa.select(Mute.muted_id).where(Mute.account_id == account)
    with stores.sql.reading() as connection:
        accounts.require(connection, account)
        return with_infos(
            stores,
            connection,
            key_page(connection, Kind.MUTES, query, Mute.muted_id, cursor, limit),
        )


def blocks(stores: Stores, account: int, cursor: str | None, limit: int) -> Page[AccountInfo]:
    """Whom the account has blocked, by id, descending. Raises `NotFound`."""
    query = sa.select(Block.blocked_id).where(Block.account_id == account)
    with stores.sql.reading() as connection:
        accounts.require(connection, account)
        return with_infos(
            stores,
            connection,
            key_page(connection, Kind.BLOCKS, query, Block.blocked_id, cursor, limit),
        )


def is_blocked_by(stores: Stores, viewer: int, author: int) -> bool:
    """Whether `author` blocks `viewer`."""
    return bool(blockers_among(stores, viewer, [author]))


def blockers_among(stores: Stores, viewer: int, authors: list[int]) -> set[int]:
    """Those of these authors who block the viewer."""
    query = sa.select(Block.account_id).where(
        Block.blocked_id == viewer, Block.account_id.in_(authors)
    )
    with stores.sql.reading() as connection:
        return set(connection.scalars(query))


def _not_oneself(account: int, other: int, field: str, verb: str) -> None:
    if account == other:
        raise Invalid("path", field, f"An account cannot {verb} itself.")
