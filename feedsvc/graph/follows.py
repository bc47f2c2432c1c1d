"""Who follows whom. The counts move in the transaction that moves the edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.errors import FeedsvcError, Forbidden, Invalid
from feedsvc.graph import accounts
from feedsvc.outbox import Followed, RelationsChanged
from feedsvc.paging import Kind, Page
from feedsvc.store.sql.database import now
from feedsvc.store.sql.keyset import key_page
from feedsvc.store.sql.tables import Account, Block, Follow

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from feedsvc.graph.accounts import AccountInfo
    from feedsvc.outbox import Transaction
    from feedsvc.store import Stores

_ACCOUNT, _STEP = (sa.bindparam(name, type_=sa.BigInteger) for name in ("account", "step"))
_FOLLOWING_COUNTED = (
    sa.update(Account)
    .where(Account.id == _ACCOUNT)
    .values(following_count=Account.following_count + _STEP)
)
_FOLLOWERS_COUNTED = (
    sa.update(Account)
    .where(Account.id == _ACCOUNT)
    .values(follower_count=Account.follower_count + _STEP)
)

_ONE, _OTHER = (sa.bindparam(name, type_=sa.BigInteger) for name in ("one", "other"))
_EITHER_BLOCKS = sa.select(
    sa.or_(
        sa.exists().where(Block.account_id == _ONE, Block.blocked_id == _OTHER),
        sa.exists().where(Block.account_id == _OTHER, Block.blocked_id == _ONE),
    )
)


@dataclass(frozen=True)
class FollowChange:
    """One line of a batch."""

    follower: int
    followee: int
    action: Literal["follow", "unfollow"]


@dataclass(frozen=True)
class FollowOutcome:
    """What became of it: `ok`, or `error` and why."""

    follower: int
    followee: int
    action: str
    status: Literal["ok", "error"]
    detail: str | None


def follow(stores: Stores, follower: int, followee: int) -> None:
    """Follow; again is no error. Raises `NotFound`, `Invalid` for oneself, `Forbidden` where one blocks the other."""
    with outbox.transaction(stores) as transaction:
        _follow(stores, transaction, follower, followee)


def unfollow(stores: Stores, follower: int, followee: int) -> None:
    """Unfollow; not following is no error. Raises `NotFound` for an unknown account."""
    with outbox.transaction(stores) as transaction:
        _unfollow(transaction, follower, followee)


def apply_batch(stores: Stores, items: list[FollowChange]) -> list[FollowOutcome]:
    """Apply each in order, in one transaction; one that cannot be applied changes nothing, and the others hold."""
    with outbox.transaction(stores) as transaction:
        accounts.hold(
            transaction.connection,
            [account for item in items for account in (item.follower, item.followee)],
        )
        return [_apply(stores, transaction, item) for item in items]


def is_following(stores: Stores, follower: int, followee: int) -> bool:
    """Whether the edge is there. Raises `NotFound` for an unknown follower."""
    with stores.sql.reading() as connection:
        accounts.require(connection, follower)
        return connection.scalar(sa.select(_edge(follower, followee))) or False


def following(stores: Stores, account: int, cursor: str | None, limit: int) -> Page[AccountInfo]:
    """Whom the account follows, by id, descending. Raises `NotFound`."""
    query = sa.select(Follow.followee_id).where(Follow.follower_id == account)
    with stores.sql.reading() as connection:
        accounts.require(connection, account)
        return with_infos(
            stores,
            connection,
            key_page(connection, Kind.FOLLOWING, query, Follow.followee_id, cursor, limit),
        )


def followers(stores: Stores, account: int, cursor: str | None, limit: int) -> Page[AccountInfo]:
    """Who follows the account, by id, descending. Raises `NotFound`."""
    query = sa.select(Follow.follower_id).where(Follow.followee_id == account)
    with stores.sql.reading() as connection:
        accounts.require(connection, account)
        return with_infos(
            stores,
            connection,
            key_page(connection, Kind.FOLLOWERS, query, Follow.follower_id, cursor, limit),
        )


def with_infos(stores: Stores, connection: Connection, page: Page[Row[int]]) -> Page[AccountInfo]:
    """The accounts whose ids are on a page."""
    infos = accounts.infos(stores, connection, [row[0] for row in page.items])
    return Page(infos, page.next_cursor, page.prev_cursor)


def remove_edge(connection: Connection, follower: int, followee: int) -> None:
    """Take the edge away, if it is there, and count it off. The caller holds both accounts."""
    gone = connection.execute(
        sa.delete(Follow).where(Follow.follower_id == follower, Follow.followee_id == followee)
    )
    if gone.rowcount:
        _count(connection, follower, followee, -1)


def _apply(stores: Stores, transaction: Transaction, item: FollowChange) -> FollowOutcome:
    try:
        if item.action == "follow":
            _follow(stores, transaction, item.follower, item.followee)
        else:
            _unfollow(transaction, item.follower, item.followee)
    except FeedsvcError as error:
        return FollowOutcome(item.follower, item.followee, item.action, "error", str(error))
    return FollowOutcome(item.follower, item.followee, item.action, "ok", None)


def _follow(stores: Stores, transaction: Transaction, follower: int, followee: int) -> None:
    if follower == followee:
        raise Invalid("path", "followee", "An account cannot follow itself.")
    accounts.lock(transaction.connection, follower, followee)
    if transaction.connection.scalar(_EITHER_BLOCKS, {"one": follower, "other": followee}):
        raise Forbidden(f"One of the accounts {follower} and {followee} blocks the other.")
    edge = {
        "follower_id": follower,
        "followee_id": followee,
        "followed_at_seconds": int(now().timestamp()),
    }
    if accounts.insert_if_absent(stores, transaction.connection, Follow, edge):
        _count(transaction.connection, follower, followee, 1)
    transaction.add(Followed(follower))


def _unfollow(transaction: Transaction, follower: int, followee: int) -> None:
    accounts.lock(transaction.connection, follower, followee)
    remove_edge(transaction.connection, follower, followee)
    transaction.add(RelationsChanged([follower]))


def _count(connection: Connection, follower: int, followee: int, step: int) -> None:
    connection.execute(_FOLLOWING_COUNTED, {"account": follower, "step": step})
    connection.execute(_FOLLOWERS_COUNTED, {"account": followee, "step": step})


def _edge(follower: int, followee: int) -> sa.Exists:
    return sa.exists().where(Follow.follower_id == follower, Follow.followee_id == followee)
