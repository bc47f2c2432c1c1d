"""Delete an account with its posts and edges.

First the account is marked. A marked account's posts are hidden, and it gets no new rows. Then its
rows are removed in steps, and its own row last. A request takes the first steps. The sweep takes
the other steps, also if the process of the request died.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.errors import NotFound
from feedsvc.graph.accounts import lock_existing
from feedsvc.outbox import AccountDeleted, PostsDeleted, RelationsChanged
from feedsvc.store.sql import highest_id
from feedsvc.store.sql.tables import Account, Block, Fanout, Follow, IdempotencyKey, Mute, Pin, Post

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import InstrumentedAttribute

    from feedsvc.store import Stores

# A step removes up to 1,000 rows in a transaction of its own. Requests and sweeps take up to 20
# steps, a second or two of work. The sweep runs every second.
_STEP_ROWS = 1_000
_STEPS = 20

_MARKED = sa.select(Account.id).where(Account.deleting).order_by(Account.id).limit(_STEPS)
_ACCOUNT = sa.bindparam("account", type_=sa.BigInteger)
_CLAIM = sa.select(Account.id).where(Account.id == _ACCOUNT, Account.deleting).with_for_update()
# Like `_CLAIM`, and at once the locks of other accounts that are not marked, in ascending order as
# everywhere (graph/accounts.py). Another transaction may hold the lock of one of them and wait for
# the account's, although it skips marked accounts: its statement may have begun before the mark.
_CLAIM_BESIDE = (
    sa.select(Account.id)
    .where(
        sa.or_(
            sa.and_(Account.id == _ACCOUNT, Account.deleting),
            sa.and_(Account.id.in_(sa.bindparam("others", expanding=True)), ~Account.deleting),
        )
    )
    .order_by(Account.id)
    .with_for_update()
)
_HAS_MORE = sa.select(
    sa.or_(
        *(
            sa.exists().where(column == _ACCOUNT)
            for column in (Post.author_id, Follow.followee_id, Follow.follower_id)
        )
    )
)


def delete(stores: Stores, account: int) -> None:
    """Mark the account, which hides its posts, and take up to 20 steps of its removal.

    A repeated request continues the removal. Raises `NotFound`.
    """
    with outbox.transaction(stores) as transaction:
        # The lock waits for an upload by the account, and for an import that names it.
        lock_existing(transaction.connection, [account])
        mark = sa.update(Account).where(Account.id == account).values(deleting=True)
        exists = transaction.connection.execute(mark).rowcount > 0
        if exists:
            transaction.add(AccountDeleted(account))
    if not exists:
        outbox.apply_pending(stores, account)
        raise NotFound("account", account)
    _remove(stores, account, _STEPS)


def sweep(stores: Stores) -> None:
    """Continue the removal of marked accounts, by up to 20 steps in all."""
    with stores.sql.reading() as connection:
        marked = list(connection.scalars(_MARKED))
    left = _STEPS
    for account in marked:
        left = _remove(stores, account, left)


def _remove(stores: Stores, account: int, steps: int) -> int:
    """Take up to `steps` steps of the removal. Return the number of unused steps."""
    while steps:
        steps -= 1
        if _remove_posts(stores, account) or _remove_edges(stores, account):
            continue
        # A process may have died between the commit of a step and its effects.
        outbox.apply_pending(stores, account)
        if _remove_row(stores, account):
            break
    return steps


def _claim(connection: Connection, account: int) -> bool:
    """Lock the account until the transaction ends. Return whether the account is still marked.

    Another process may have finished the deletion, and a new account may have taken the id. The
    caller must lock no other account after this one: a transaction that waits for this lock may
    hold theirs.
    """
    return connection.scalar(_CLAIM, {"account": account}) is not None


def _remove_posts(stores: Stores, account: int) -> int:
    """Delete up to a thousand posts of the account. Returns their number."""
    query = sa.select(Post.id).where(Post.author_id == account).order_by(Post.id).limit(_STEP_ROWS)
    with outbox.transaction(stores) as transaction:
        connection = transaction.connection
        if not _claim(connection, account):
            return 0
        # Every transaction that changes a post and its fan-out locks the post first.
        post_ids = list(connection.scalars(query.with_for_update()))
        if post_ids:
            connection.execute(sa.delete(Fanout).where(Fanout.post_id.in_(post_ids)))
            highest_id.remove_posts(connection, post_ids)
            transaction.add(PostsDeleted(account, post_ids))
    return len(post_ids)


def _remove_edges(stores: Stores, account: int) -> int:
    """Delete up to a thousand follows of one direction. Returns their number.

    The counts of the accounts at the other end go down by one, unless they are marked too.
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
            if not others:
                continue
            values = {"account": account, "others": others}
            locked = set(connection.scalars(_CLAIM_BESIDE, values))
            if account not in locked:
                return 0
            edges = sa.delete(Follow).where(mine == account, theirs.in_(others))
            removed = set(connection.scalars(edges.returning(theirs)))
            _decrement(connection, removed & locked, count)
            transaction.add(RelationsChanged([account, *others]))
            return len(others)
    return 0


def _decrement(
    connection: Connection, accounts: set[int], count: InstrumentedAttribute[int]
) -> None:
    connection.execute(
        sa.update(Account).where(Account.id.in_(accounts)).values({count: count - 1})
    )


def _remove_row(stores: Stores, account: int) -> bool:
    """Delete the account's row. Return False if posts or follows are left.

    Since this process found none, another one may have finished the deletion, and a new account
    with the same id may have been marked.
    """
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
        connection = transaction.connection
        if not _claim(connection, account):
            return True
        if connection.scalar(_HAS_MORE, {"account": account}):
            return False
        for table, column in rows:
            connection.execute(sa.delete(table).where(column == account))
        transaction.add(AccountDeleted(account))
    return True
