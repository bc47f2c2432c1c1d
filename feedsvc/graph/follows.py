"""Follows. An edge and the counts of both accounts change in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.errors import FeedsvcError, Forbidden, Invalid, NotFound
from feedsvc.graph import accounts
from feedsvc.outbox import Followed, RelationsChanged
from feedsvc.paging import Kind, Page
from feedsvc.store.sql.clock import CLOCK_MS
from feedsvc.store.sql.tables import Account, Block, Follow

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.graph.accounts import AccountInfo
    from feedsvc.outbox import Transaction
    from feedsvc.store import Stores

_ACCOUNT, _STEP, _FOLLOWER, _FOLLOWEE = (
    sa.bindparam(name, type_=sa.BigInteger) for name in ("account", "step", "follower", "followee")
)
_COUNT_FOLLOWING, _COUNT_FOLLOWERS = (
    sa.update(Account).where(Account.id == _ACCOUNT).values({count: count + _STEP})
    for count in (Account.following_count, Account.follower_count)
)
_IS_BLOCKED, _BLOCKS = (
    sa.exists().where(Block.account_id == one, Block.blocked_id == other)
    for one, other in ((_FOLLOWEE, _FOLLOWER), (_FOLLOWER, _FOLLOWEE))
)
_BETWEEN = sa.select(
    _IS_BLOCKED.label("is_blocked"), _BLOCKS.label("blocks"), CLOCK_MS.label("clock_ms")
)


@dataclass(frozen=True)
class FollowChange:
    """One line of a batch."""

    follower: int
    followee: int
    action: Literal["follow", "unfollow"]


@dataclass(frozen=True)
class FollowOutcome(FollowChange):
    """One line with its result: `ok`, or `error` with the reason in `detail`."""

    status: Literal["ok", "error"]
    detail: str | None


def follow(stores: Stores, follower: int, followee: int) -> None:
    """Follow an account. A repeated follow succeeds.

    Raises `NotFound` for an unknown account, also if the followee blocks the follower. Raises
    `Invalid` for oneself, and `Forbidden` if the follower blocks the followee.
    """
    with outbox.transaction(stores) as transaction:
        _follow(stores, transaction, follower, followee)


def unfollow(stores: Stores, follower: int, followee: int) -> None:
    """Unfollow an account. It succeeds without a follow, too. Raises `NotFound`."""
    with outbox.transaction(stores) as transaction:
        _unfollow(transaction, follower, followee)


def apply_batch(stores: Stores, items: list[FollowChange]) -> list[FollowOutcome]:
    """Apply the lines in order, in one transaction. A line that fails changes nothing.

    The other lines are still applied.
    """
    named = [account for item in items for account in (item.follower, item.followee)]
    with outbox.transaction(stores) as transaction:
        accounts.lock_existing(transaction.connection, named)
        return [_apply(stores, transaction, item) for item in items]


def is_following(stores: Stores, follower: int, followee: int) -> bool:
    """Return whether the follower follows the followee. Raises `NotFound` for the follower."""
    edge = sa.exists().where(Follow.follower_id == follower, Follow.followee_id == followee)
    with stores.sql.reading() as connection:
        accounts.require(connection, follower)
        return connection.scalar(sa.select(edge)) or False


def following(
    stores: Stores, account: int, cursor: str | None, limit: int, viewer: int | None = None
) -> Page[AccountInfo]:
    """Return one page of the account's followees, by id, descending. Raises `NotFound`."""
    edge = (Follow.follower_id, Follow.followee_id)
    return accounts.related(stores, Kind.FOLLOWING, account, edge, cursor, limit, viewer)


def followers(
    stores: Stores, account: int, cursor: str | None, limit: int, viewer: int | None = None
) -> Page[AccountInfo]:
    """Return one page of the account's followers, by id, descending. Raises `NotFound`."""
    edge = (Follow.followee_id, Follow.follower_id)
    return accounts.related(stores, Kind.FOLLOWERS, account, edge, cursor, limit, viewer)


def remove_edge(connection: Connection, follower: int, followee: int) -> None:
    """Delete the edge, if there is one, and count it off. The caller has locked both accounts."""
    edge = sa.delete(Follow).where(Follow.follower_id == follower, Follow.followee_id == followee)
    if connection.execute(edge).rowcount:
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
    connection = transaction.connection
    accounts.lock(connection, follower, followee)
    between = connection.execute(_BETWEEN, {"follower": follower, "followee": followee}).one()
    if between.is_blocked:
        raise NotFound("account", followee)
    if between.blocks:
        raise Forbidden(f"Account {follower} blocks account {followee}. Unblock it first.")
    edge = {
        "follower_id": follower,
        "followee_id": followee,
        "followed_at_seconds": between.clock_ms // 1000,
    }
    if stores.sql.insert_if_absent(connection, Follow, edge):
        _count(connection, follower, followee, 1)
    transaction.add(Followed(follower))


def _unfollow(transaction: Transaction, follower: int, followee: int) -> None:
    accounts.lock(transaction.connection, follower, followee)
    remove_edge(transaction.connection, follower, followee)
    transaction.add(RelationsChanged([follower]))


def _count(connection: Connection, follower: int, followee: int, step: int) -> None:
    connection.execute(_COUNT_FOLLOWING, {"account": follower, "step": step})
    connection.execute(_COUNT_FOLLOWERS, {"account": followee, "step": step})
