"""The posts of one account, newest first: SQL by keyset, with cached bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc import paging
from feedsvc.cache import feed_queries, post_bodies
from feedsvc.errors import NotFound
from feedsvc.graph import accounts, hiding
from feedsvc.paging import Item, Kind, Page

if TYPE_CHECKING:
    from collections.abc import Collection

    from feedsvc.cache.newest_posts import Order
    from feedsvc.store import Stores


def profile_page(
    stores: Stores, viewer: int | None, author: int, cursor: str | None, limit: int
) -> Page[bytes]:
    """Return a page of the author's posts.

    Raises `BadCursor`, and `NotFound`, also for a viewer that the author blocks.
    """
    at = paging.start(Kind.PROFILE, cursor)
    stores.watermark.rise(stores.sql, stores.redis)
    watermark = stores.watermark.value
    with stores.sql.reading() as connection:
        accounts.require(connection, author)
        if viewer is not None and hiding.is_blocked_by(connection, viewer, author):
            raise NotFound("account", author)
    return paging.page(_Profile(stores, author), Kind.PROFILE, at, limit, watermark)


@dataclass(frozen=True)
class _Profile:
    """The posts of one account, as `paging.Posts`."""

    stores: Stores
    author: int

    def below(self, position: int, count: int) -> list[Item]:
        """See `paging.Posts`."""
        found: list[Item] = []
        lowest = position
        while True:
            wanted = count - len(found)
            ids = self._ids(above=0, below=lowest, count=wanted, order="newest first")
            found += self._existing(ids)
            if len(found) == count or len(ids) < wanted:
                return found
            # A post was deleted after its id had been read.
            lowest = ids[-1]

    def above(self, position: int, shown: Collection[int], count: int) -> list[Item]:
        """See `paging.Posts`."""
        found: list[Item] = []
        highest, wanted = position, count + len(shown)
        while True:
            ids = self._ids(above=highest, below=paging.TOP, count=wanted, order="oldest first")
            found += self._existing([post_id for post_id in ids if post_id not in shown])
            if len(found) >= count or len(ids) < wanted:
                return found[:count]
            highest = ids[-1]

    def ids_above(self, position: int) -> list[int]:
        """See `paging.Posts`."""
        count = paging.MAX_SHOWN
        return self._ids(above=position, below=paging.TOP, count=count, order="oldest first")

    def _ids(self, *, above: int, below: int, count: int | None, order: Order) -> list[int]:
        with self.stores.sql.reading() as connection:
            bounds = {"above": above, "below": below}
            return feed_queries.by_author(
                self.stores, connection, self.author, **bounds, count=count, order=order
            )

    def _existing(self, ids: list[int]) -> list[Item]:
        """Return the posts that are not deleted."""
        found = zip(ids, post_bodies.read(self.stores, ids), strict=True)
        return [Item(post_id, body.json) for post_id, body in found if body is not None]
