"""Reading a home feed: celebrity lists first, the home list after, SQL at and below their horizon.

The order is what keeps a post that is just being moved: it is put into the home lists before it leaves the celebrity list, so
whoever misses it on the celebrity list finds it in the home list, read later. A viewer who follows no celebrity is answered in
two round trips, the second for the posts' bytes, and without SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.feed import merge, walk
from feedsvc.feed.settled import settled_mark
from feedsvc.feed.walk import Item
from feedsvc.paging import Kind, Page
from feedsvc.store.redis import celebrities, keys, lists
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.redis.scripts import in_one_trip
from feedsvc.views import bodies, celebrity, home, relations, timeline

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from redis.client import Pipeline

    from feedsvc.store import Stores

_EMPTY = FloorList([], 0)


def home_page(stores: Stores, viewer: int, cursor: str | None, limit: int) -> Page[bytes]:
    """A page of the viewer's home feed, each item the JSON of one post. Raises `NotFound` for an unknown viewer, `BadCursor`."""
    settled = settled_mark()
    return walk.page(look(stores, viewer), Kind.FEED, cursor, limit, settled)


@dataclass(frozen=True)
class Feed:
    """A viewer's feed at one moment: the ids above the horizon, descending; what lies below is asked of SQL when needed."""

    stores: Stores
    viewer: int
    authors: frozenset[int]
    ids: list[int]
    horizon: int

    def below(self, position: int, count: int) -> list[Item]:
        """See `walk.Posts`."""
        shown = self._visible([post_id for post_id in self.ids if post_id < position], count)
        lowest = min(position, self.horizon + 1)
        while len(shown) < count and self.horizon > 0:
            ids = self._from_sql(above=0, below=lowest, count=count, order="newest first")
            shown += self._visible(ids, count - len(shown))
            if len(ids) < count:
                break
            lowest = ids[-1]
        return shown

    def above(self, position: int, shown: Collection[int], count: int) -> list[Item]:
        """See `walk.Posts`."""
        found: list[Item] = []
        lowest = position
        while len(found) < count and lowest < self.horizon:
            wanted = count + len(shown)
            ids = self._from_sql(above=lowest, below=self.horizon + 1, count=wanted, order="oldest first")
            found += self._visible([post_id for post_id in ids if post_id not in shown], count - len(found))
            if len(ids) < wanted:
                break
            lowest = ids[-1]
        ascending = [post_id for post_id in reversed(self.ids) if post_id > position and post_id not in shown]
        return found + self._visible(ascending, count - len(found))

    def ids_between(self, above: int, upto: int) -> list[int]:
        """See `walk.Posts`."""
        ids = [post_id for post_id in self.ids if above < post_id <= upto]
        if above < self.horizon:
            ids += self._from_sql(above=above, below=min(upto, self.horizon) + 1, count=None, order="oldest first")
        return ids

    def _visible(self, ids: Sequence[int], count: int) -> list[Item]:
        """The first `count` of these posts that are there and not hidden; asks for as many more as turned out hidden."""
        items: list[Item] = []
        at = 0
        while len(items) < count and at < len(ids):
            chunk = ids[at : at + max(count - len(items), at)]
            at += len(chunk)
            for post_id, body in zip(chunk, bodies.read(self.stores, chunk), strict=True):
                if body is not None and body.author_id in self.authors:
                    items.append(Item(post_id, body.json))
        return items[:count]

    def _from_sql(self, *, above: int, below: int, count: int | None, order: timeline.Order) -> list[int]:
        with self.stores.sql.reading() as connection:
            return timeline.seen(self.stores, connection, self.viewer, above=above, below=below, count=count, order=order)


def look(stores: Stores, viewer: int) -> Feed:
    """The viewer's feed now. Raises `NotFound` for an unknown viewer."""
    asked: list[celebrities.Known] = []

    def queue(pipe: Pipeline) -> None:
        pipe.get(keys.relations(viewer))
        asked[:] = [stores.celebrities.ask(pipe)]
        pipe.lrange(keys.homefeed(viewer), 0, -1)
        pipe.expire(keys.homefeed(viewer), stores.limits.feed_ttl_seconds)

    raw_relations, news, raw_home, _ = in_one_trip(stores.redis, queue)
    authors = relations.parse(raw_relations)
    known = stores.celebrities.learn(asked[0], news)
    in_order = authors is not None and known is not None  # the home list was read after the celebrities
    if authors is None:
        authors = relations.visible_authors(stores, viewer)
    if known is None:
        known = celebrity.reload_authors(stores)
    followed = known.among(authors)
    sources: list[FloorList] = []
    if followed or not in_order:
        sources, raw_home = _celebrity_lists_then_home(stores, followed, viewer)
    sources.append(lists.parse(raw_home) or home.rebuild(stores, viewer))
    return Feed(stores, viewer, authors, merge.merged(sources), merge.horizon(sources))


def _celebrity_lists_then_home(stores: Stores, followed: dict[int, float], viewer: int) -> tuple[list[FloorList], list[bytes]]:
    """The lists of these authors, and what the home list holds after they were read."""

    def queue(pipe: Pipeline) -> None:
        for author in followed:
            pipe.lrange(keys.celebrity_posts(author), 0, -1)
        pipe.lrange(keys.homefeed(viewer), 0, -1)

    *answers, raw_home = in_one_trip(stores.redis, queue)
    parsed = [lists.parse(answer) for answer in answers]
    found = [posts or celebrity.rebuild(stores, author) for author, posts in zip(followed, parsed, strict=True)]
    if None in parsed:  # SQL was read after the home list
        raw_home = stores.redis.lrange(keys.homefeed(viewer), 0, -1)
    _forget_empty(stores, {author: followed[author] for author, posts in zip(followed, found, strict=True) if posts == _EMPTY})
    return found, raw_home


def _forget_empty(stores: Stores, empty: dict[int, float]) -> None:
    """Drop authors with nothing on their list, here and in the set; those that SQL named have no number and stay."""
    for author, number in empty.items():
        if number > 0:
            celebrities.remove(stores.redis, author, number)
    if empty:
        stores.celebrities.forget(empty)
