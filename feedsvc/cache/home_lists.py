"""`homefeed:<viewer>`: the ids that were pushed to one viewer. An absent list is rebuilt."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from feedsvc.cache import feed_queries
from feedsvc.store.redis import lists
from feedsvc.store.redis.lists import FloorList, HomeList

if TYPE_CHECKING:
    from feedsvc.store import Stores


def read_whole(stores: Stores, viewer: int) -> HomeList:
    """Return the whole home list, and rebuild it if it is absent.

    Store a tail hint, so that the next first page needs only the head.
    """
    key = stores.keys.homefeed(viewer)
    raw = cast("list[bytes]", stores.redis.lrange(key, 0, -1))
    home = lists.parse_home(raw)
    if home is None:
        rebuilt = rebuild(stores, viewer)
        return HomeList(sorted(rebuilt.ids), rebuilt.floor)
    lists.store_tail_hint(stores.redis, key, raw)
    return home


def rebuild(stores: Stores, viewer: int) -> FloorList:
    """Return the home list as SQL has it now, and store it.

    Do not store it if the list's marker has changed meanwhile: after a deletion, an expiry or a
    trim.
    """
    cap = stores.limits.feed_cap

    def read_sql() -> FloorList:
        with stores.sql.reading() as connection:
            newest = feed_queries.pushed(stores, connection, viewer, cap + 1)
        return FloorList.of_newest(newest, cap)

    return lists.build(stores.redis, stores.keys.homefeed(viewer), stores.limits, read_sql)
