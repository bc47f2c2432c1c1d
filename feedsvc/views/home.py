"""`homefeed:<viewer>`: the ids pushed to one viewer, and the rebuild of a feed that is absent.

A rebuild creates the list first, so that pushes land on it, and reads SQL then: read the other way round, a post that commits in
between would be neither pushed nor read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.store.redis import keys, lists
from feedsvc.store.redis.lists import FloorList
from feedsvc.views import timeline

if TYPE_CHECKING:
    from feedsvc.store import Stores


def rebuild(stores: Stores, viewer: int) -> FloorList:
    """The viewer's home feed, read from SQL now; stored, unless something has changed meanwhile."""
    key = keys.homefeed(viewer)
    marker = lists.open_to_build(stores.redis, key, stores.limits.feed_ttl_seconds)
    read = _from_sql(stores, viewer)
    if marker is not None:
        lists.finish(stores.redis, key, marker, read, stores.limits)
    return read


def _from_sql(stores: Stores, viewer: int) -> FloorList:
    cap = stores.limits.feed_cap
    with stores.sql.reading() as connection:
        ids = timeline.pushed(stores, connection, viewer, cap + 1)
    return FloorList(ids[:cap], ids[cap] if len(ids) > cap else 0)
