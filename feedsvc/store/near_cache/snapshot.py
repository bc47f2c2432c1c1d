"""The value types of the near cache, and the snapshot that one read works with."""

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


class CachedList(NamedTuple):
    """The copy of a celebrity list: its ids, ascending, each once, and the highest id (`top`).

    `load`: the number of the call of `NearCache.store_lists` that cached the list.
    """

    top: int
    floor: int
    ids: array[int]
    load: int

    @classmethod
    def of(cls, posts: FloorList) -> CachedList:
        """Return the copy of a list that was just read."""
        ids = array("q", sorted(set(posts.ids)))
        return cls(ids[-1] if ids else 0, posts.floor, ids, 0)

    @property
    def is_empty(self) -> bool:
        """Whether the author has nothing on its list, down to its first post."""
        return not self.ids and self.floor == 0

    def with_post(self, post_id: int) -> CachedList:
        """Return a copy with one more post. This one does not change: a reader may use it."""
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


# In place of the body of a post that was deleted. No account has the id 0.
GONE = Body(0, b"")

_NO_POSTS = RecentPosts(0)
_LOAD = itemgetter(CachedList._fields.index("load"))


@dataclass(frozen=True)
class Snapshot:
    """The part of the near cache that one read may use.

    The read knows every entry of the invalidation log `marker` up to `number`. It may use the lists
    of loads up to `loads`. `authors` has each author with a post on its list; None if the near
    cache does not hold this set. `news` are the entries that this read received itself.

    The set and the dictionaries are the near cache's own, and other threads change them. `authors`
    only gains authors, because a forgotten author leaves by a new set. An entry of `lists` or
    `bodies` may go at any time, and an absent entry means "fetch it", never "empty". A list or a
    body may be newer than this snapshot. `lists_of` checks the load of a list.
    """

    marker: bytes
    number: int
    authors: set[int] | None
    lists: OrderedDict[int, CachedList] = field(default_factory=OrderedDict)
    # Ignore lists of later loads. Such a list may lack a post that moved after this read fetched
    # its home list. The read would find the post in neither list.
    loads: int = 0
    # At least the highest floor of all lists of loads up to `loads`.
    highest_floor: int = 0
    recent: RecentPosts = _NO_POSTS
    bodies: OrderedDict[int, Body] = field(default_factory=OrderedDict)
    news: Sequence[Invalidation] = ()
    # The accounts whose posts are hidden from all viewers, as of `number`.
    hidden: frozenset[int] = frozenset()

    def celebrities_among(self, authors: frozenset[int]) -> AbstractSet[int] | None:
        """Return the accounts among `authors` that may have anything on their celebrity list.

        Return None if the near cache does not hold the set of these accounts.
        """
        if self.authors is None:
            return None
        # Other threads change this set. A set operation on integers is atomic under CPython's GIL.
        # A build without the GIL would need a lock here.
        found = authors & self.authors
        if not self.news:
            return found
        return found | {entry.author for entry in self.news if entry.author in authors}

    def lists_of(self, authors: Collection[int]) -> list[CachedList | None]:
        """Return the cached lists of authors; None for each list that has to be fetched."""
        found = list(map(self.lists.get, authors))
        rebuilt = {entry.author for entry in self.news if entry.post_id == WHOLE_LIST}
        if rebuilt:
            found = [
                None if author in rebuilt else cached
                for author, cached in zip(authors, found, strict=True)
            ]
        # The usual case comes first, because a viewer may follow hundreds of celebrities.
        if all(found) and max(map(_LOAD, found), default=0) <= self.loads:  # type: ignore[arg-type]
            return found
        return [None if cached is None or cached.load > self.loads else cached for cached in found]
