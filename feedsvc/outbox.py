"""Store effects on Redis in SQL, and apply them after the commit: the transactional outbox.

A transaction stores its effects as outbox rows (table `changes`). The process applies them after
the commit and before it answers. A repeated request changes no row, but it applies its effects too,
because the first request may have died before it applied them. A sweep applies the outbox rows that
a crash left behind.

An effect may be applied several times. `PostPublished` and `PostRepeated` put a post on its
author's celebrity list. Every other effect deletes views or takes posts off a list.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, ClassVar

import structlog
from sqlalchemy import bindparam, delete, insert, or_, select

from feedsvc.cache import celebrity_lists, hidden_authors, post_bodies
from feedsvc.errors import StoredNotFinished, StoreUnavailable
from feedsvc.store.redis import keys, post_ids, usage
from feedsvc.store.redis.client import add_sign_of_life, delete_everything
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import OutboxRow
from feedsvc.store.watermark import NEW_POST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores

_log = structlog.get_logger()

# The sweep leaves an outbox row alone for 1 s after its transaction, because its own process is
# probably applying it now.
_GRACE = dt.timedelta(seconds=1)
_SWEEP_ROWS = 1_000

_INSERT = (
    insert(OutboxRow)
    .values(kind=bindparam("kind"), ids=bindparam("ids"), made_at=db_time())
    .returning(OutboxRow.id)
)
_DELETE = delete(OutboxRow).where(OutboxRow.id.in_(bindparam("rows", expanding=True)))
_ROWS = select(OutboxRow.id, OutboxRow.kind, OutboxRow.ids)


@dataclass(frozen=True)
class Effect(ABC):
    """An effect of a committed change on Redis."""

    # The name of the effect in an outbox row. Never change a kind, or the order and meaning of its
    # ids, because an older release may run at the same time.
    kind: ClassVar[str]

    @property
    def ids(self) -> list[int]:
        """Return the arguments as the outbox row stores them."""
        return list(astuple(self))

    @abstractmethod
    def apply(self, stores: Stores) -> None:
        """Apply the effect after the commit.

        Raises `StoreUnavailable` if Redis or SQL is down, or refuses the write.
        """

    def repeat(self, stores: Stores) -> None:
        """Apply the effect again or late, when other effects may have come in between.

        Raises the same errors as `apply`.
        """
        self.apply(stores)


@dataclass(frozen=True)
class PostPublished(Effect):
    """Effect of a new post: put it on its author's celebrity list.

    Every follower's next read finds the post there.
    """

    kind = NEW_POST
    author: int
    post_id: int

    def apply(self, stores: Stores) -> None:
        """Put the post on its author's celebrity list."""
        celebrity_lists.put(stores, self.author, self.post_id)

    def repeat(self, stores: Stores) -> None:
        """Put the post on the list only if SQL says that it still belongs there."""
        # Drop the cached note that the post does not exist. `put` drops it too, but `put_listed`
        # calls `put` only for posts that still belong on the list.
        trip = RoundTrip(stores.redis)
        trip.ask("DEL", keys.post(self.post_id))
        post_ids.add_post(trip, self.post_id)
        trip.run()
        celebrity_lists.put_listed(stores, [self.post_id])


@dataclass(frozen=True)
class PostRepeated(PostPublished):
    """Effect of an upload whose idempotency key was used before.

    The first upload may have died between its commit and its effect.
    """

    kind = "posted again"

    def apply(self, stores: Stores) -> None:
        """Put the post on the list only if SQL says that it still belongs there."""
        self.repeat(stores)


@dataclass(frozen=True)
class PostEdited(Effect):
    """Effect of a new description: drop the post's cached bytes."""

    kind = "post edited"
    post_id: int

    def apply(self, stores: Stores) -> None:
        """Drop the cached bytes."""
        post_bodies.forget(stores, [self.post_id])


@dataclass(frozen=True)
class PostsDeleted(Effect):
    """Effect of deleted posts of one author: drop their bytes and take them off the list."""

    kind = "post deleted"
    author: int
    post_ids: Sequence[int]

    @property
    def ids(self) -> list[int]:
        """Return the author, followed by the posts."""
        return [self.author, *self.post_ids]

    def apply(self, stores: Stores) -> None:
        """Drop the cached bytes, then take the posts off the celebrity list."""
        post_bodies.forget(stores, self.post_ids)
        celebrity_lists.take_off(stores, dict.fromkeys(self.post_ids, self.author))


@dataclass(frozen=True)
class Followed(Effect):
    """Effect of a new followee: delete the follower's home list and relations.

    The next read rebuilds the home list, with the followee's older posts.
    """

    kind = "followed"
    follower: int

    def apply(self, stores: Stores) -> None:
        """Delete the follower's home list and relations."""
        stores.redis.delete(
            stores.keys.homefeed(self.follower), stores.keys.relations(self.follower)
        )


@dataclass(frozen=True)
class AccountDeleted(Effect):
    """Effect of the beginning and of the end of an account's deletion: delete its views.

    Every near cache learns whether the account's posts are hidden.
    """

    kind = "account deleted"
    account: int

    def apply(self, stores: Stores) -> None:
        """Delete the account's keys in Redis, then log whether its posts are hidden."""
        stores.redis.delete(
            stores.keys.homefeed(self.account),
            stores.keys.relations(self.account),
            keys.celebrity_posts(self.account),
            keys.console(self.account),
        )
        usage.remove_reads(stores, self.account)
        hidden_authors.log(stores, self.account)


@dataclass(frozen=True)
class RelationsChanged(Effect):
    """Effect of an unfollow, or of a mute or block set or lifted: delete the cached relations.

    A read filters the home list by the relations, so the home list itself stays.
    """

    kind = "relations"
    accounts: Sequence[int]

    @property
    def ids(self) -> list[int]:
        """Return the accounts."""
        return list(self.accounts)

    def apply(self, stores: Stores) -> None:
        """Delete the cached relations of the accounts."""
        stores.redis.delete(*map(stores.keys.relations, self.accounts))


@dataclass(frozen=True)
class Flush(Effect):
    """Effect of a bulk change: delete every cached view."""

    kind = "flush"

    def apply(self, stores: Stores) -> None:
        """Empty Redis."""
        delete_everything(stores.redis)


_FROM_IDS: dict[str, Callable[..., Effect]] = {
    PostPublished.kind: PostPublished,
    PostRepeated.kind: PostRepeated,
    PostEdited.kind: PostEdited,
    PostsDeleted.kind: lambda author, *post_ids: PostsDeleted(author, post_ids),
    Followed.kind: Followed,
    AccountDeleted.kind: AccountDeleted,
    RelationsChanged.kind: lambda *accounts: RelationsChanged(accounts),
    Flush.kind: Flush,
}


@dataclass(frozen=True)
class Transaction:
    """A writing transaction, with the effects that it adds to the outbox.

    `highest_post_id`: the highest id of a post that Redis had on record before the transaction.
    """

    connection: Connection
    highest_post_id: int
    effects: list[Effect] = field(default_factory=list)

    def add(self, effect: Effect) -> None:
        """Add an effect.

        `transaction` applies the effect after the commit, even if the block wrote nothing.
        """
        self.effects.append(effect)


@contextmanager
def transaction(stores: Stores) -> Iterator[Transaction]:
    """Run the block in a writing transaction, then apply its effects to Redis.

    First writes a sign of life to Redis. If Redis is down or refuses writes, this raises
    `StoreUnavailable`, and SQL is not changed. If an effect fails after the commit, raises
    `StoredNotFinished`, and the sweep applies the effect.
    """
    trip = RoundTrip(stores.redis)
    add_sign_of_life(trip, stores.redis)
    highest = post_ids.ask_highest(trip)
    trip.run()
    with stores.sql.writing() as connection:
        change = Transaction(connection, highest.value)
        yield change
        rows = [{"kind": effect.kind, "ids": effect.ids} for effect in change.effects]
        row_ids = list(connection.scalars(_INSERT, rows)) if rows else []
    try:
        for effect in change.effects:
            effect.apply(stores)
        _delete(stores, row_ids)
    except StoreUnavailable as error:
        raise StoredNotFinished(error) from error


@dataclass(frozen=True)
class Pending:
    """Accounts and posts whose committed changes may not have reached Redis yet."""

    ids: frozenset[int]
    concerns_all: bool

    def concerns(self, *ids: int) -> bool:
        """Return whether a pending effect names any of the accounts and posts."""
        return self.concerns_all or not self.ids.isdisjoint(ids)

    def union(self, other: Pending) -> Pending:
        """Return the accounts and posts that are pending in either."""
        return Pending(self.ids | other.ids, self.concerns_all or other.concerns_all)


def pending(stores: Stores) -> Pending:
    """Return the accounts and posts that any outbox row names."""
    with stores.sql.reading() as connection:
        rows = list(connection.scalars(select(OutboxRow.ids)))
    # Only `Flush` has no ids. It concerns all accounts and posts.
    return Pending(frozenset(ident for ids in rows for ident in ids), concerns_all=[] in rows)


def sweep(stores: Stores) -> int:
    """Apply the outbox rows that a crash left behind. Returns the number of rows applied.

    If a row cannot be applied, logs its id once, does not delete it, and goes on. Raises if a store
    is down.
    """
    after, applied = 0, 0
    while rows := _select_due(stores, after):
        applied += _repeat_each(stores, rows)
        after = rows[-1].id
    if applied:
        _log.warning("changes.swept", changes=applied)
    return applied


def apply_pending(stores: Stores, account: int) -> None:
    """Apply the outbox rows whose first id is the account.

    A deletion of the account calls this before it answers, because an earlier try may have died
    between a commit and its effects. Does not delete rows that cannot be applied. Raises if a store
    is down.
    """
    with stores.sql.reading() as connection:
        rows = [row for row in connection.execute(_ROWS) if row.ids[:1] == [account]]
    _repeat_each(stores, rows)


def _select_due(stores: Stores, after: int) -> Sequence[Row[int, str, list[int]]]:
    # A row that seems to come from the future was made before the clock was set back.
    is_old = or_(OutboxRow.made_at < db_time(-_GRACE), OutboxRow.made_at > db_time())
    due = _ROWS.where(is_old, OutboxRow.id > after).order_by(OutboxRow.id).limit(_SWEEP_ROWS)
    with stores.sql.reading() as connection:
        return connection.execute(due).all()


def _delete(stores: Stores, row_ids: list[int]) -> None:
    if row_ids:
        with stores.sql.writing() as connection:
            connection.execute(_DELETE, {"rows": row_ids})


def _repeat_each(stores: Stores, rows: Sequence[Row[int, str, list[int]]]) -> int:
    """Apply outbox rows one by one and delete the applied ones. Returns how many were applied."""
    applied = []
    try:
        for row in rows:
            if _repeat(stores, row):
                # Collect the ids one by one, so that `finally` deletes the applied rows even if
                # `_repeat` raises.
                applied.append(row.id)  # noqa: PERF401
    finally:
        _delete(stores, applied)
    return len(applied)


def _repeat(stores: Stores, row: Row[int, str, list[int]]) -> bool:
    """Apply one outbox row.

    Returns False if the row cannot be applied, for instance because a newer release wrote it.
    """
    try:
        _effect_of(row).repeat(stores)
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001
        # No fault of one row may stop the others.
        if row.id not in stores.unappliable_changes:
            stores.unappliable_changes.add(row.id)
            cause = f"{type(error).__name__}: {error}"
            _log.error("changes.not_applied", change_id=row.id, kind=row.kind, error=cause)
        return False
    return True


def _effect_of(row: Row[int, str, list[int]]) -> Effect:
    if row.kind not in _FROM_IDS:
        raise LookupError(f"this version of the service cannot apply {row.kind!r}")
    return _FROM_IDS[row.kind](*row.ids)
