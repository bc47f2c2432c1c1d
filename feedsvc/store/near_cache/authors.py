"""The set of authors with a post on their list: held complete, or not at all. Loaded in steps."""

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
# the others then have no post on their list any more.
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
    """A step of a load that a read asks for. It fails if the set has more than `most` members."""

    load: Load
    cursor: bytes
    is_due: bool
    most: int


class Authors:
    """The authors that the near cache holds, or is loading. Changed under its lock.

    `held` only gains authors. To lose one it is replaced, because reads in progress use it.
    """

    def __init__(self, held: set[int] | None, most: int) -> None:
        """Hold a set, or begin to load it. A set of more than `most` authors is never held."""
        self._most = most
        self.held = held
        self._loading = Load() if held is None else None
        self._after_load = len(held or ())
        # Whether a load found the set absent or being built, so that it has to be filled from SQL.
        self.are_lost = False
        self.give_up_if_too_many()

    def __len__(self) -> int:
        """Return how many authors take memory."""
        loading = self._loading
        return len(self.held or ()) + (0 if loading is None else len(loading.authors))

    def next_step(self) -> Step | None:
        """Return the step that a read may ask for; None if nothing is to be loaded."""
        load = self._loading
        if load is None:
            return None
        is_due = load.is_due
        most = self._most if is_due else min(STEP, self._most)
        return Step(load, load.cursor, is_due, most)

    def take(self, step: Step, part: Part | None) -> set[int]:
        """Take the answer to a step, unless another thread has taken it.

        Return the authors that were held and are not any more, because the load has ended.
        """
        load, before = step.load, self.held or set()
        if self._loading is not load or load.cursor != step.cursor:
            return set()
        if part is not None and load.take(part):
            if load.is_complete:
                self.held, self._loading = load.authors, None
                self._after_load = len(load.authors)
                return before - load.authors
        elif step.is_due:
            self.are_lost = True
            self._loading = Load()
        return set()

    def add(self, author: int) -> None:
        """Add an author that was put. Load the set again if it has doubled."""
        if self.held is not None:
            self.held.add(author)
            if len(self.held) > 2 * self._after_load + _FEW_AUTHORS and self._loading is None:
                self._loading = Load()
        if self._loading is not None:
            self._loading.authors.add(author)

    def forget(self, authors: Collection[int]) -> None:
        """Replace the set by one without some authors."""
        if self.held is not None:
            self.held = self.held.difference(authors)

    def give_up_if_too_many(self) -> None:
        """Hold no set if it is too large, and load it later. No single author is ever evicted."""
        loading = self._loading
        if self.held is not None and len(self.held) > self._most:
            self.held, self._loading = None, Load()
        elif loading is not None and len(loading.authors) > self._most:
            self._loading = Load()
