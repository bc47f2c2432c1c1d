"""Read the two values that an id is drawn from: the database's clock, and the highest id in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.store.sql.clock import CLOCK_MS
from feedsvc.store.sql.tables import Post, RemovedPosts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

_HIGHEST_POST = sa.select(sa.func.max(Post.id)).scalar_subquery()
_HIGHEST_REMOVED = sa.select(RemovedPosts.highest_id).scalar_subquery()
_CLOCK_AND_HIGHEST = sa.select(CLOCK_MS, _HIGHEST_POST, _HIGHEST_REMOVED)
_RAISE = (
    sa.update(RemovedPosts)
    .where(RemovedPosts.highest_id < sa.bindparam("removed"))
    .values(highest_id=sa.bindparam("removed"))
)


def clock_and_highest(connection: Connection) -> tuple[int, int]:
    """Return the database's clock in milliseconds since 1970, and the highest committed id.

    Both come from one statement. The caller's transaction must already have a transaction number
    (`store/watermark.py` says why).
    """
    clock_ms, post, removed = connection.execute(_CLOCK_AND_HIGHEST).one()
    return int(clock_ms), max(post or 0, removed or 0)


def remove_posts(connection: Connection, post_ids: Sequence[int]) -> None:
    """Remove the rows of posts. No new post will get an id at or below theirs."""
    if post_ids:
        connection.execute(_RAISE, {"removed": max(post_ids)})
        connection.execute(sa.delete(Post).where(Post.id.in_(post_ids)))
