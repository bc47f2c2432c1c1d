"""The value types of the near cache, and the snapshot that one read works with."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from feedsvc.store.redis.invalidation_log import WHOLE_LIST, Invalidation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from feedsvc.store.redis.lists import FloorList

# If there are more than 4,096 recent posts, keep the newest 2,048.
_RECENT_POSTS = 2_048
# Up to this many new posts are inserted one by one; more are sorted together with the others.
_FEW = 8
# To choose the floor of the recent posts, look at the newest 64 posts of each list.
_OF_EACH = 64


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


class RecentPosts(NamedTuple):
    """The posts of all cached lists that are above `floor`, ascending. Immutable.

    Posts of other authors may be among them. `authors` has the author of each id. A first page
    scans these posts instead of every list. If most of the newest posts are by followees, that
    takes about as many steps as the page has posts (docs/decisions/0007).
    """

    ids: array[int] = array("q")
    authors: array[int] = array("q")
    floor: int = 0

    def below(
        self, position: int, count: int, authors: Collection[int], max_scan: int
    ) -> list[int] | None:
        """Return the highest `count` posts of the authors below a position, descending.

        Return None if the newest `max_scan` entries below the position have fewer than `count`.
        """
        found: list[int] = []
        end = bisect_left(self.ids, position)
        for at in range(end - 1, max(-1, end - 1 - max_scan), -1):
            if self.authors[at] in authors:
                found.append(self.ids[at])
                if len(found) == count:
                    return found
        return None

    def above(self, position: int, authors: Collection[int]) -> list[int] | None:
        """Return all posts of the authors above a position, ascending.

        Return None if some posts may be missing.
        """
        if position < self.floor:
            return None
        start = bisect_left(self.ids, position + 1)
        return [self.ids[at] for at in range(start, len(self.ids)) if self.authors[at] in authors]

    def with_post(self, post_id: int, author: int) -> RecentPosts:
        """Return the recent posts with one more post."""
        at = bisect_left(self.ids, post_id)
        if post_id <= self.floor or (at < len(self.ids) and self.ids[at] == post_id):
            return self
        ids, authors = self.ids[:], self.authors[:]
        ids.insert(at, post_id)
        authors.insert(at, author)
        return _cut(ids, authors, self.floor)

    def with_lists(self, lists: Mapping[int, Sequence[int]]) -> RecentPosts:
        """Return the recent posts with the posts of more lists: author -> ids, ascending."""
        newest = sorted(chain.from_iterable(ids[-_OF_EACH:] for ids in lists.values()))
        most = 2 * _RECENT_POSTS
        floor = max(self.floor, newest[-most] if len(newest) >= most else 0)
        new = [
            (post_id, author)
            for author, ids in lists.items()
            for post_id in ids[bisect_left(ids, floor + 1) :]
        ]
        if len(new) <= _FEW:
            # The floor has not risen. It rises only together with at least 4,095 new posts.
            recent = self
            for post in new:
                recent = recent.with_post(*post)
            return recent
        old = (post for post in zip(self.ids, self.authors, strict=True) if post[0] > floor)
        posts = sorted({*new, *old})
        return _cut(
            array("q", (post_id for post_id, _ in posts)),
            array("q", (author for _, author in posts)),
            floor,
        )


def _cut(ids: array[int], authors: array[int], floor: int) -> RecentPosts:
    if len(ids) <= 2 * _RECENT_POSTS:
        return RecentPosts(ids, authors, floor)
    keep = _RECENT_POSTS
    return RecentPosts(ids[-keep:], authors[-keep:], ids[-keep - 1])


_NO_POSTS = RecentPosts()
_LOAD = itemgetter(CachedList._fields.index("load"))


@dataclass(frozen=True)
class Snapshot:
    """The part of the near cache that one read may use.

    The read knows every entry of the invalidation log `marker` up to `number`. It may use the lists
    of loads up to `loads`. `authors` has each author with a post on its list, and the number of its
    latest put. `news` are the entries that this read received itself.

    The dictionaries are the near cache's own, and other threads change them. `authors` only gains
    entries and higher numbers, because a forgotten author leaves by a new dictionary. An entry of
    `lists` or `bodies` may go at any time, and an absent entry means "fetch it", never "empty". A
    list or a body may be newer than this snapshot. `lists_of` checks the load of a list.
    """

    marker: bytes
    number: int
    authors: dict[int, int]
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

    def celebrities_among(self, authors: frozenset[int]) -> AbstractSet[int]:
        """Return the accounts among `authors` that may have anything on their celebrity list."""
        # Other threads change this dictionary. A set operation on integer keys is atomic under
        # CPython's GIL. A build without the GIL would need a lock here.
        if len(self.authors) < len(authors):
            found: AbstractSet[int] = authors.intersection(self.authors)
        else:
            found = self.authors.keys() & authors
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
