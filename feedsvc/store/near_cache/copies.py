"""The copies of lists and of posts, which share the room that the rest of the near cache leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.store.near_cache.clock_cache import ClockCache
from feedsvc.store.near_cache.sizes import body_bytes, list_bytes
from feedsvc.store.near_cache.snapshot import Body, CachedList

if TYPE_CHECKING:
    from collections.abc import Mapping


class Copies:
    """Two caches in one room, in bytes. Each kind may use what the other leaves.

    Three quarters of the room are the lists' own, because a missing list costs a read more than a
    missing post (docs/decisions/0022).
    """

    def __init__(self) -> None:
        """Begin without copies."""
        self.lists = ClockCache[CachedList](lambda cached: list_bytes(len(cached.ids)))
        self.bodies = ClockCache[Body](lambda body: body_bytes(len(body.json)))

    @property
    def used_bytes(self) -> int:
        """The bytes that all copies take."""
        return self.lists.used_bytes + self.bodies.used_bytes

    def counts(self) -> dict[tuple[str, str], int]:
        """Return the counts since the process began, by name of the count and kind of copy."""
        return {
            (name, kind): count
            for kind, copies in (("list", self.lists), ("post", self.bodies))
            for name, count in copies.counts().items()
        }

    def clear(self) -> None:
        """Begin anew with other dictionaries. A read in progress may still use the old ones."""
        self.lists.clear()
        self.bodies.clear()

    def store_lists(self, lists: Mapping[int, CachedList], room: int) -> set[int]:
        """Store lists that are worth caching. Return their authors. Call `fit` afterwards."""
        own = max(share_of_lists(room), room - self.bodies.used_bytes)
        return self.lists.store(lists, own - self.lists.used_bytes)

    def store_bodies(self, bodies: Mapping[int, Body], room: int) -> None:
        """Store posts that are worth caching. Call `fit` afterwards."""
        own = room - min(share_of_lists(room), self.lists.used_bytes)
        self.bodies.store(bodies, own - self.bodies.used_bytes)

    def fit(self, room: int) -> None:
        """Evict copies until all of them fit."""
        while self.used_bytes > room:
            above = self.lists.used_bytes > share_of_lists(room)
            (self.lists if above else self.bodies).evict()


def share_of_lists(room: int) -> int:
    """Return the bytes of the room that are the lists' own."""
    return room * 3 // 4
