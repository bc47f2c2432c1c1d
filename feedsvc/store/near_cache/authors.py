"""The set of authors with a post on their list: complete, or absent. It is loaded in steps."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple

from feedsvc.store.redis.celebrities import FIRST, LAST

if TYPE_CHECKING:
    from collections.abc import Collection

    from feedsvc.store.redis.celebrities import Part

# A step reads 1,000 to 2,000 authors. It is part of the round trip of a read.
STEP = 1_000

# A larger set is loaded after a random delay of up to 30 s, so that a hundred processes that start
# together load it in different seconds. Until then each read asks Redis for its own followees.
SPREAD_SECONDS = 30.0

# Load the set again when it has more than twice the authors of the last load, plus 1,000. Most of
# the added authors then have no post on their list any more.
_FEW_AUTHORS = 1_000


class Load:
    """A load in progress.

    Redis returns each author that is in the set `celebrities` from the first step to the last one
    (`scan_authors.lua`). The authors that are put since the load began are added. So at the end no
    author is missing. An author that was removed meanwhile has no post on its list any more: the
    post was in the home lists before.

    If the set has another marker at a later step, it was lost and filled again. The earlier steps
    then say nothing about the set, so the load fails.
    """

    def __init__(self) -> None:
        """Begin with no authors."""
        self._due = time.monotonic() + random.uniform(0, SPREAD_SECONDS)  # noqa: S311 -- no secret
        self._marker: bytes | None = None
        self.cursor = FIRST
        self.authors: set[int] = set()

    @property
    def is_complete(self) -> bool:
        """Whether every part of the set has been taken."""
        return self.cursor == LAST

    @property
    def is_due(self) -> bool:
        """Whether a read may take a step. A set that is a single step is loaded at once."""
        return time.monotonic() >= self._due

    def take(self, part: Part) -> bool:
        """Take the answer to a step. Return False if the load has failed."""
        if self._marker not in (None, part.marker):
            return False
        self._marker, self.cursor = part.marker, part.cursor
        self.authors |= part.authors
        return True


class Step(NamedTuple):
    """A step of a load that a read asks for: about `size` authors.

    It fails if the set has more than `most` members.
    """

    load: Load
    cursor: bytes
    is_due: bool
    size: int
    most: int


class Authors:
    """The set of authors, and the load of another set. Changed under the lock of the near cache.

    `complete` has every author with a post on its list. It is None until a load has ended, and if
    the set is too large. Other threads read it without the lock, so authors are only added to it.
    `forget` and the end of a load replace it by another set.
    """

    def __init__(self, complete: set[int] | None, most: int) -> None:
        """Begin with a complete set, or with a load. Give up a set of more than `most` authors."""
        self._most = most
        self.complete = complete
        self._loading = Load() if complete is None else None
        self._after_load = len(complete or ())
        # Whether a load failed. Then the set may be absent or being built, and SQL has to fill it.
        self.are_lost = False
        self.give_up_if_too_many()

    def __len__(self) -> int:
        """Return the number of authors in memory: in the complete set and in the load."""
        loading = self._loading
        return len(self.complete or ()) + (0 if loading is None else len(loading.authors))

    def next_step(self) -> Step | None:
        """Return the next step of the load; None if there is no load."""
        load = self._loading
        if load is None:
            return None
        is_due = load.is_due
        most = self._most if is_due else min(STEP, self._most)
        return Step(load, load.cursor, is_due, STEP, most)

    def take(self, step: Step, part: Part | None) -> set[int]:
        """Take the answer to a step, unless another thread has taken it.

        If the load has ended, return the authors that only the set before it had.
        """
        load, before = step.load, self.complete or set()
        if self._loading is not load or load.cursor != step.cursor:
            return set()
        if part is not None and load.take(part):
            if load.is_complete:
                self.complete, self._loading = load.authors, None
                self._after_load = len(load.authors)
                return before - load.authors
        elif step.is_due:
            self.are_lost = True
            self._loading = Load()
        return set()

    def add(self, author: int) -> None:
        """Add an author that was put. Load the set again if it has doubled (`_FEW_AUTHORS`)."""
        if self.complete is not None:
            self.complete.add(author)
            if len(self.complete) > 2 * self._after_load + _FEW_AUTHORS and self._loading is None:
                self._loading = Load()
        if self._loading is not None:
            self._loading.authors.add(author)

    def forget(self, authors: Collection[int]) -> None:
        """Replace the set by one without some authors."""
        if self.complete is not None:
            self.complete = self.complete.difference(authors)

    def give_up_if_too_many(self) -> None:
        """Drop a set that is too large, and load it again later. Never evict single authors."""
        loading = self._loading
        if self.complete is not None and len(self.complete) > self._most:
            self.complete, self._loading = None, Load()
        elif loading is not None and len(loading.authors) > self._most:
            self._loading = Load()
