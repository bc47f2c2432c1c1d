"""What one read knows of a process's copies, and the forms in which they are held. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from feedsvc.store.near_cache.recent_posts import RecentPosts
from feedsvc.store.redis.invalidation_log import WHOLE_LIST, Invalidation

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from collections.abc import Set as AbstractSet

    from feedsvc.store.redis.lists import FloorList

_NOTHING = RecentPosts()


class CachedList(NamedTuple):
    """The copy of a list: its ids, ascending, each once. `load` numbers the moment it was made in this process."""

    top: int
    floor: int
    ids: array[int]
    load: int

    def with_post(self, post_id: int) -> CachedList:
        """With one more post. It is another copy: a reader may be at this one."""
        at = bisect_left(self.ids, post_id)
        if at < len(self.ids) and self.ids[at] == post_id:
            return self
        ids = self.ids[:]
        ids.insert(at, post_id)
        return CachedList(ids[-1], self.floor, ids, self.load)


class Body(NamedTuple):
    """One post, ready to be sent."""

    author_id: int
    json: bytes


# Of a post that was deleted: nobody's.
GONE = Body(0, b"")


_LOAD = itemgetter(CachedList._fields.index("load"))


@dataclass(frozen=True)
class Snapshot:
    """What one read knows: the copies as they were when it asked, and the news. A dictionary handed out here only gains."""

    marker: bytes
    number: int
    authors: dict[int, int]
    lists: OrderedDict[int, CachedList] = field(default_factory=OrderedDict)
    # Later loads are not for this read: what they lack may have moved into a home list that it had read before.
    loads: int = 0
    # No list of these loads has a higher floor.
    highest_floor: int = 0
    latest: RecentPosts = _NOTHING
    bodies: dict[int, Body] = field(default_factory=dict)
    news: Sequence[Invalidation] = ()

    def among(self, authors: frozenset[int]) -> AbstractSet[int]:
        """Those of these accounts that may have something on their list."""
        if len(self.authors) < len(authors):
            found: AbstractSet[int] = authors.intersection(self.authors)
        else:
            found = self.authors.keys() & authors
        return (
            found | {put.author for put in self.news if put.author in authors}
            if self.news
            else found
        )

    def held(self, authors: Collection[int]) -> list[CachedList | None]:
        """The copies of these authors' lists; None where there is none, or none for this read."""
        found = list(map(self.lists.get, authors))
        anew = {put.author for put in self.news if put.post_id == WHOLE_LIST}
        if anew:
            found = [
                None if author in anew else each
                for author, each in zip(authors, found, strict=True)
            ]
        if all(found) and max(map(_LOAD, found), default=0) <= self.loads:  # type: ignore[arg-type] # as almost always, and they may be many
            return found
        return [None if each is None or each.load > self.loads else each for each in found]


def held(posts: FloorList) -> CachedList:
    """A list as it is held."""
    ids = array("q", sorted(set(posts.ids)))
    return CachedList(ids[-1] if ids else 0, posts.floor, ids, 0)
