"""The posts of the last days, as their ids tell when they were made."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.posts import ids
from feedsvc.store.sql.database import clock_ms
from feedsvc.store.sql.tables import Post
from feedsvc.views import bodies

if TYPE_CHECKING:
    from feedsvc.store import Stores

_STREAMED_ROWS = 10_000


def posted(stores: Stores, seconds: float) -> tuple[array[float], array[int]]:
    """When (seconds since so long ago, ascending) which account has posted; deleted posts too, which were pushed like any other."""
    times, authors = array("d"), array("q")
    with stores.sql.reading() as connection:
        now_ms = connection.scalar(clock_ms(stores.sql.is_sqlite))
        assert now_ms is not None
        since_ms = int(now_ms) - int(seconds * 1000)
        recent = sa.select(Post.id, Post.author_id).where(Post.id >= ids.lowest_of(since_ms)).order_by(Post.id)
        for post_id, author in connection.execution_options(yield_per=_STREAMED_ROWS).execute(recent):
            times.append((bodies.made_ms(post_id) - since_ms) / 1000)
            authors.append(author)
    return times, authors
