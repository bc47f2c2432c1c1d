"""A dictionary of copies from which the copies that readers use least are evicted."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

V = TypeVar("V")

# The remembered misses are two generations of ids. A generation has a quarter as many ids as there
# are copies. A call of `store` adds at most an eighth of a generation, so that the long tail of one
# reader pushes out neither the misses nor the copies of all others (docs/decisions/0022).
_GENERATION = 4
_ONE_CALL = 8


class ClockCache(Generic[V]):
    """Copies by id, evicted by the CLOCK algorithm.

    Readers take no lock. They look ids up in `entries` and call `count`. All other methods are
    called under the lock of the near cache. A copy never changes. `replace` stores another one.

    Once a copy has found no room, the cache is full. From then on a copy is stored only at the
    second miss of its id, if the first miss is still remembered. Until then each reader fetches it
    for itself.
    """

    def __init__(self, size: Callable[[V], int]) -> None:
        """Begin empty. `size` returns the bytes of a copy."""
        self._size = size
        self.hits = self.misses = self.evictions = 0
        self.clear()

    def clear(self) -> None:
        """Begin anew with other dictionaries. A read in progress may still use the old ones."""
        self.entries: OrderedDict[int, V] = OrderedDict()
        self.used_bytes = 0
        self._is_full = False
        self._marks: set[int] = set()
        self._missed: set[int] = set()
        self._missed_before: set[int] = set()

    def count(self, found: Iterable[int], hits: int, misses: int) -> None:
        """Count what a reader looked up, and mark the copies that it found, by their ids.

        Marks matter in a full cache only. CPython with its GIL switches threads at calls and loops,
        and not in a set operation on integers. So no count is lost. A build without the GIL would
        need a lock here.
        """
        self.hits += hits
        self.misses += misses
        if self._is_full:
            self._marks.update(found)

    def counts(self) -> dict[str, int]:
        """Return the hits, misses and evictions since the process began."""
        return {"hits": self.hits, "misses": self.misses, "evictions": self.evictions}

    def store(self, copies: Mapping[int, V], room: int) -> set[int]:
        """Store copies that fit into the `room` bytes that are left, and others at a second miss.

        Return the ids of the stored copies. The caller then calls `evict` until all copies fit. A
        copy that is cached already stays, because more reads in progress may use it. A copy that
        would not fit even into an empty cache is not stored, because it would evict all others.
        """
        stored, whole = set(), self.used_bytes + room
        most = max(1, len(self.entries) // (_GENERATION * _ONE_CALL))
        for key, copy in copies.items():
            if key in self.entries:
                continue
            size = self._size(copy)
            if size > room:
                self._is_full = True
                most -= 1
                if most < 0 or size > whole or not self._is_second_miss(key):
                    continue
            room -= size
            self.replace(key, copy)
            stored.add(key)
        return stored

    def replace(self, key: int, copy: V) -> None:
        """Store a copy in place of the one that is cached, if there is one."""
        old = self.entries.get(key)
        self.used_bytes += self._size(copy) - (0 if old is None else self._size(old))
        self.entries[key] = copy

    def drop(self, key: int) -> None:
        """Remove a copy if it is cached."""
        copy = self.entries.pop(key, None)
        if copy is not None:
            self.used_bytes -= self._size(copy)
            self._marks.discard(key)

    def drop_all(self) -> None:
        """Remove every copy, also from the dictionary that reads in progress use."""
        self.entries.clear()
        self._marks.clear()
        self.used_bytes = 0

    def evict(self) -> None:
        """Remove one copy. The hand goes around all copies: it spares a marked one once."""
        for _ in range(len(self.entries)):
            key = next(iter(self.entries))
            if key not in self._marks:
                break
            self._marks.discard(key)
            self.entries.move_to_end(key)
        self.drop(next(iter(self.entries)))
        self.evictions += 1

    def _is_second_miss(self, key: int) -> bool:
        """Return whether a miss of the id is remembered. Otherwise remember this one."""
        if key in self._missed or key in self._missed_before:
            return True
        self._missed.add(key)
        if len(self._missed) > len(self.entries) // _GENERATION:
            self._missed_before, self._missed = self._missed, set()
            # A reader may mark a copy that has just been dropped.
            self._marks.intersection_update(self.entries)
        return False
