"""Hide the posts of the accounts that are being deleted, from all viewers.

SQL has the mark `deleting`. Each near cache has the set of marked accounts, and learns each change
of the set from the invalidation log. So a feed hides the posts without a query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from feedsvc.store.redis import invalidation_log
from feedsvc.store.sql.tables import Account

if TYPE_CHECKING:
    from feedsvc.store import Stores

_MARKED = select(Account.id).where(Account.deleting)
_LOCK = 7_305_000_005  # serialises the entries about accounts


def read(stores: Stores) -> frozenset[int]:
    """Return the accounts that are being deleted."""
    with stores.sql.reading() as connection:
        return frozenset(connection.scalars(_MARKED))


def log(stores: Stores, account: int) -> None:
    """Log whether the account is being deleted now.

    Call this after each commit that changes the mark. One call at a time reads SQL and writes the
    log. So the last entry about an account is right, even if an effect is applied late or twice.
    """
    with stores.sql.writing() as connection:
        stores.sql.one_at_a_time(connection, _LOCK)
        is_marked = connection.scalar(_MARKED.where(Account.id == account)) is not None
        invalidation_log.add_account(stores.redis, account, is_hidden=is_marked)
