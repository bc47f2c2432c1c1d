"""Mutes and blocks: both hide posts. A block works in both directions and ends the follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.errors import Invalid
from feedsvc.graph import accounts
from feedsvc.graph.follows import remove_edge
from feedsvc.outbox import RelationsChanged
from feedsvc.paging import Kind, Page
from feedsvc.store.sql.tables import Account, Block, Mute

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.graph.accounts import AccountInfo
    from feedsvc.store import Stores


_VIEWER, _AUTHOR = (sa.bindparam(name, type_=sa.BigInteger) for name in ("viewer", "author"))
_IS_BLOCKED = sa.select(sa.exists().where(Block.account_id == _AUTHOR, Block.blocked_id == _VIEWER))
_NOT_DELETING = sa.select(Account.id).where(
    Account.id.in_(sa.bindparam("authors", expanding=True)), ~Account.deleting
)
_VISIBLE = _NOT_DELETING.where(
    ~sa.exists().where(Block.account_id == Account.id, Block.blocked_id == _VIEWER)
)


def mute(stores: Stores, account: int, muted: int) -> None:
    """Hide `muted`'s posts from `account`. A repeated mute succeeds.

    Raises `NotFound`, or `Invalid` for oneself.
    """
    _require_other(account, muted, "muted", "mute")
    with outbox.transaction(stores) as transaction:
        accounts.lock(transaction.connection, account, muted)
        row = {"account_id": account, "muted_id": muted}
        stores.sql.insert_if_absent(transaction.connection, Mute, row)
        transaction.add(RelationsChanged([account]))


def unmute(stores: Stores, account: int, muted: int) -> None:
    """Show `muted`'s posts again. It succeeds without a mute, too. Raises `NotFound`."""
    with outbox.transaction(stores) as transaction:
        accounts.lock(transaction.connection, account, muted)
        transaction.connection.execute(
            sa.delete(Mute).where(Mute.account_id == account, Mute.muted_id == muted)
        )
        transaction.add(RelationsChanged([account]))


def block(stores: Stores, account: int, blocked: int) -> None:
    """Hide both accounts from each other and end their follows. A repeated block succeeds.

    Raises `NotFound`, or `Invalid` for oneself.
    """
    _require_other(account, blocked, "blocked", "block")
    with outbox.transaction(stores) as transaction:
        accounts.lock(transaction.connection, account, blocked)
        row = {"account_id": account, "blocked_id": blocked}
        stores.sql.insert_if_absent(transaction.connection, Block, row)
        remove_edge(transaction.connection, account, blocked)
        remove_edge(transaction.connection, blocked, account)
        transaction.add(RelationsChanged([account, blocked]))


def unblock(stores: Stores, account: int, blocked: int) -> None:
    """Lift a block. The follows do not come back. It succeeds without a block, too.

    Raises `NotFound`.
    """
    with outbox.transaction(stores) as transaction:
        accounts.lock(transaction.connection, account, blocked)
        transaction.connection.execute(
            sa.delete(Block).where(Block.account_id == account, Block.blocked_id == blocked)
        )
        transaction.add(RelationsChanged([account, blocked]))


def mutes(
    stores: Stores, account: int, cursor: str | None, limit: int, viewer: int | None = None
) -> Page[AccountInfo]:
    """Return one page of the accounts that the account mutes, by id, descending.

    Raises `NotFound`.
    """
    edge = (Mute.account_id, Mute.muted_id)
    return accounts.related(stores, Kind.MUTES, account, edge, cursor, limit, viewer)


def blocks(
    stores: Stores, account: int, cursor: str | None, limit: int, viewer: int | None = None
) -> Page[AccountInfo]:
    """Return one page of the accounts that the account blocks, by id, descending.

    Raises `NotFound`.
    """
    edge = (Block.account_id, Block.blocked_id)
    return accounts.related(stores, Kind.BLOCKS, account, edge, cursor, limit, viewer)


def is_blocked_by(connection: Connection, viewer: int, author: int) -> bool:
    """Return whether `author` blocks `viewer`."""
    return connection.scalar(_IS_BLOCKED, {"viewer": viewer, "author": author}) or False


def visible_among(connection: Connection, viewer: int | None, authors: list[int]) -> set[int]:
    """Return the authors who are not being deleted and do not block the viewer.

    `viewer=None` means the backend of the app, which no account blocks.
    """
    if viewer is None:
        return set(connection.scalars(_NOT_DELETING, {"authors": authors}))
    return set(connection.scalars(_VISIBLE, {"viewer": viewer, "authors": authors}))


def _require_other(account: int, other: int, field: str, verb: str) -> None:
    if account == other:
        raise Invalid("path", field, f"An account cannot {verb} itself.")
