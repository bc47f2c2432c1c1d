"""The transactional outbox: the effects that a committed change still has to have on Redis.

A transaction stores its effects as rows of the table `changes`. They are applied after its commit
and before the answer leaves. This includes the answer to a repeated request that changed no row. A
sweep applies the rows that a crash left behind.

An effect may be applied several times. All effects delete cached views, except that a new post is
put on its author's celebrity list.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, ClassVar

import structlog
from sqlalchemy import bindparam, delete, insert, select

from feedsvc.cache import celebrity_lists, post_bodies
from feedsvc.errors import StoreUnavailable
from feedsvc.store.redis import keys
from feedsvc.store.redis.client import UNAVAILABLE, delete_everything
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores

_log = structlog.get_logger()

# The process that committed a younger row is most likely applying it now.
_GRACE = dt.timedelta(seconds=1)
_SWEEP_ROWS = 1_000

_INSERT = insert(OutboxRow).returning(OutboxRow.id)
_DELETE = delete(OutboxRow).where(OutboxRow.id.in_(bindparam("rows", expanding=True)))
_ROWS = select(OutboxRow.id, OutboxRow.kind, OutboxRow.ids)
_DUE = (
    _ROWS.where(OutboxRow.made_at < bindparam("before"), OutboxRow.id > bindparam("after"))
    .order_by(OutboxRow.id)
    .limit(_SWEEP_ROWS)
)


@dataclass(frozen=True)
class Effect(ABC):
    """An effect of a committed change on Redis."""

    # How the row names the effect. Two releases may run at once, so a kind keeps its name and its
    # ids.
    kind: ClassVar[str]

    @property
    def ids(self) -> list[int]:
        """Return the arguments as the row stores them."""
        return list(astuple(self))

    @abstractmethod
    def apply(self, stores: Stores) -> None:
        """Apply the effect after the commit. Raises if Redis is down."""

    def repeat(self, stores: Stores) -> None:
        """Apply the effect later, after other changes. Raises if a store is down."""
        self.apply(stores)


@dataclass(frozen=True)
class PostPublished(Effect):
    """A new post: every follower's next read finds it on its author's celebrity list."""

    kind = "posted"
    author: int
    post_id: int

    def apply(self, stores: Stores) -> None:
        """Put the post on its author's celebrity list."""
        celebrity_lists.put(stores, self.author, self.post_id)

    def repeat(self, stores: Stores) -> None:
        """Put the post on the list only if SQL says that it still belongs there."""
        # As `put` does, but also for a post that has left the list since.
        stores.redis.delete(keys.post(self.post_id))
        celebrity_lists.put_listed(stores, [self.post_id])


@dataclass(frozen=True)
class PostRepeated(PostPublished):
    """A repeated upload with an earlier idempotency key. The first may have died half-way."""

    kind = "posted again"

    def apply(self, stores: Stores) -> None:
        """Put the post on the list only if SQL says that it still belongs there."""
        self.repeat(stores)


@dataclass(frozen=True)
class PostEdited(Effect):
    """A post with another description: its cached bytes are dropped."""

    kind = "post edited"
    post_id: int

    def apply(self, stores: Stores) -> None:
        """Drop the cached bytes."""
        post_bodies.forget(stores, [self.post_id])


@dataclass(frozen=True)
class PostsDeleted(Effect):
    """Deleted posts of one author: their bytes are dropped, and they leave the celebrity list."""

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
    """A new followee. The rebuild of the follower's home feed brings the followee's older posts."""

    kind = "followed"
    follower: int

    def apply(self, stores: Stores) -> None:
        """Delete the follower's home feed and relations."""
        stores.redis.delete(
            stores.keys.homefeed(self.follower), stores.keys.relations(self.follower)
        )


@dataclass(frozen=True)
class RelationsChanged(Effect):
    """Changed follows, mutes or blocks that need no backfill."""

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
    """A bulk change: every cached view is thrown away."""

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
    RelationsChanged.kind: lambda *accounts: RelationsChanged(accounts),
    Flush.kind: Flush,
}


@dataclass(frozen=True)
class Transaction:
    """A writing transaction, with the effects that it adds to the outbox."""

    connection: Connection
    effects: list[Effect] = field(default_factory=list)

    def add(self, effect: Effect) -> None:
        """Add an effect. It is applied after the commit even if no row has changed."""
        self.effects.append(effect)


@contextmanager
def transaction(stores: Stores) -> Iterator[Transaction]:
    """Run the block in a writing transaction, then apply its effects to Redis.

    Pings Redis first: while Redis is down nothing is changed.
    """
    stores.redis.ping()
    with stores.sql.writing() as connection:
        change = Transaction(connection)
        yield change
        rows = [
            {"kind": effect.kind, "ids": effect.ids, "made_at": now()} for effect in change.effects
        ]
        row_ids = list(connection.scalars(_INSERT, rows)) if rows else []
    for effect in change.effects:
        effect.apply(stores)
    _delete(stores, row_ids)


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
    """Return the accounts and posts whose effects are not applied yet, or were lost in a crash."""
    with stores.sql.reading() as connection:
        rows = list(connection.scalars(select(OutboxRow.ids)))
    return Pending(frozenset(ident for ids in rows for ident in ids), concerns_all=[] in rows)


def sweep(stores: Stores) -> int:
    """Apply the outbox rows that a crash left behind. Returns the number of rows applied.

    Keeps a row that cannot be applied, logs its id once, and goes on. Raises if a store is down.
    """
    before, after, applied = now() - _GRACE, 0, 0
    while rows := _select_due(stores, before, after):
        applied += _repeat_each(stores, rows)
        after = rows[-1].id
    if applied:
        _log.warning("changes.swept", changes=applied)
    return applied


def apply_pending(stores: Stores, account: int) -> None:
    """Apply the outbox rows of an account that is being deleted.

    Keeps rows that cannot be applied. Raises if a store is down.
    """
    with stores.sql.reading() as connection:
        rows = [row for row in connection.execute(_ROWS) if row.ids[:1] == [account]]
    _repeat_each(stores, rows)


def _select_due(
    stores: Stores, before: dt.datetime, after: int
) -> Sequence[Row[int, str, list[int]]]:
    with stores.sql.reading() as connection:
        return connection.execute(_DUE, {"before": before, "after": after}).all()


def _delete(stores: Stores, row_ids: list[int]) -> None:
    if row_ids:
        with stores.sql.writing() as connection:
            connection.execute(_DELETE, {"rows": row_ids})


def _repeat_each(stores: Stores, rows: Sequence[Row[int, str, list[int]]]) -> int:
    """Apply rows one by one and delete the applied ones. Returns how many were applied."""
    applied = []
    try:
        for row in rows:
            if _repeat(stores, row):
                # Appended one by one: the applied rows are deleted even if a store goes down.
                applied.append(row.id)  # noqa: PERF401
    finally:
        _delete(stores, applied)
    return len(applied)


def _repeat(stores: Stores, row: Row[int, str, list[int]]) -> bool:
    """Apply one row. Returns False if that is impossible.

    For instance, a newer version of the service may have written it.
    """
    try:
        _effect_of(row).repeat(stores)
    except (*UNAVAILABLE, StoreUnavailable):
        raise
    except Exception as error:  # noqa: BLE001 -- no fault of one row may stop the others
        if row.id not in stores.unappliable_changes:
            stores.unappliable_changes.add(row.id)
            _log.error("changes.not_applied", change_id=row.id, kind=row.kind, error=repr(error))
        return False
    return True


def _effect_of(row: Row[int, str, list[int]]) -> Effect:
    if row.kind not in _FROM_IDS:
        raise LookupError(f"this version of the service cannot apply {row.kind!r}")
    return _FROM_IDS[row.kind](*row.ids)
