"""`homefeed:<viewer>`: the ids pushed to one viewer, and the rebuild of a feed that is absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.cache import feed_queries
from feedsvc.store.redis import lists
from feedsvc.store.redis.lists import FloorList

if TYPE_CHECKING:
    from feedsvc.store import Stores


def rebuild(stores: Stores, viewer: int) -> FloorList:
    """The viewer's home feed, read from SQL now; stored, unless something has changed meanwhile."""
    cap = stores.limits.feed_cap

    def read_sql() -> FloorList:
        with stores.sql.reading() as connection:
            return FloorList.of_newest(
                feed_queries.pushed(stores, connection, viewer, cap + 1), cap
            )

    return lists.build(stores.redis, stores.keys.homefeed(viewer), stores.limits, read_sql)
