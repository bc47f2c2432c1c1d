"""One process's copies of `celebrities`, of celebrity lists and of posts, kept exact by what each read is told in its first round trip.

A copy is good if every put since it was made is known here: puts are numbered without gaps, so a gap, or another marker than at
first, shows. What is taken off a list stays in the copy: it is in the home lists, too, and readers drop repeats. A read knows the
copies as they were when it asked, and the news; it reads its home list after that.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from feedsvc.store.near_cache.snapshot import Snapshot
from feedsvc.store.redis import invalidation_log
from feedsvc.store.redis.invalidation_log import ANY_POSTS, NO_AUTHOR, WHOLE_LIST, Invalidation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from feedsvc.store.near_cache.snapshot import Body, CachedList
    from feedsvc.store.redis.round_trip import Answer, RoundTrip

# What the copies of lists may hold together, in ids of 8 bytes: 32 MB; each list counts as some more for what is around them.
_IDS = 4_000_000
_IDS_AROUND = 40

# What the posts that are held may take together, with what is around each: 32 MB.
_BYTES = 32 << 20
_BYTES_AROUND = 200

# The news of as many puts are kept, for what arrives after them.
_NEWS = 1_000

# Authors are looked through for those with nothing on their list any more when there are twice as many as were left the last time.
_FEW_AUTHORS = 1_000


class NearCache:
    """The copies. Threads share them; whatever is dropped is dropped in a way that a read which asked before does not notice."""

    def __init__(self, longest: int, ids: int = _IDS, most_bytes: int = _BYTES) -> None:
        """Copies of nothing, of lists up to so long, of so many ids and bytes together: the first read asks for everything."""
        self._longest, self._ids, self._most_bytes = longest, ids, most_bytes
        self._lock = threading.Lock()
        self._known = Snapshot(b"", 0, {})
        self._news: deque[Invalidation] = deque(maxlen=_NEWS)
        self._weight = self._bytes = 0
        self._left = 0

    def ask(self, trip: RoundTrip) -> Answer[Snapshot | None]:
        """Ask for the invalidations since the last read.

        The answer is the snapshot for this read. It is None if an invalidation may have been
        missed: then the caller calls `reload`.
        """
        asked = self._known
        return invalidation_log.ask(trip, asked.number, partial(self._learn, asked))

    def _learn(self, asked: Snapshot, answer: invalidation_log.Entries) -> Snapshot | None:
        news = invalidation_log.news(answer, asked.marker, asked.number)
        if not news:
            return None if news is None else asked
        with self._lock:
            self._apply_all(asked.marker, news)
        return replace(asked, number=news[-1].number, news=news)

    def reload(self, marker: bytes, number: int, authors: Iterable[int]) -> Snapshot:
        """Begin anew, with authors that were read after the set `recent` had this marker and number."""
        with self._lock:
            loaded = Snapshot(
                marker, number, dict.fromkeys(authors, number), loads=self._known.loads
            )
            if self._known.marker != marker or self._known.number < number:
                self._known, self._left, self._weight, self._bytes = (
                    loaded,
                    len(loaded.authors),
                    0,
                    0,
                )
                self._news.clear()
        return loaded

    def hold(self, known: Snapshot, lists: Mapping[int, CachedList]) -> None:
        """Keep lists that were read after this was known, if all that was put since is known, too."""
        with self._lock:
            later = self._since(known)
            if later is None:
                return
            load = self._known.loads + 1
            for author, copy in lists.items():
                self._drop(author)
                self._known.lists[author] = copy._replace(load=load)
                self._weight += len(copy.ids) + _IDS_AROUND
            latest = self._known.latest.with_lists(
                {author: copy.ids for author, copy in lists.items()}
            )
            for put in later:
                if put.author in lists:
                    self._apply(put)
            while self._weight > self._ids:
                self._drop(next(iter(self._known.lists)))
            highest_floor = max(
                self._known.highest_floor, max((copy.floor for copy in lists.values()), default=0)
            )
            self._known = replace(
                self._known, loads=load, latest=latest, highest_floor=highest_floor
            )

    def bodies(self, known: Snapshot, post_ids: Sequence[int]) -> list[Body | None]:
        """The posts that are held, as they were when this was known, or later; None for those that are not."""
        now = self._known
        if now.marker != known.marker or now.number < known.number:
            return [None] * len(post_ids)
        return list(map(now.bodies.get, post_ids))

    def hold_bodies(self, known: Snapshot, bodies: Mapping[int, Body]) -> None:
        """Keep posts that were read after this was known, but for those that have come or changed since."""
        with self._lock:
            later = self._since(known)
            changed = {put.post_id for put in later or ()}
            if later is None or any(
                put.author == NO_AUTHOR and put.post_id == ANY_POSTS for put in later
            ):
                return
            for post_id in bodies.keys() - changed:
                self._drop_body(post_id)
                self._known.bodies[post_id] = bodies[post_id]
                self._bytes += len(bodies[post_id].json) + _BYTES_AROUND
            while self._bytes > self._most_bytes:
                self._drop_body(next(iter(self._known.bodies)))

    def forget(self, known: Snapshot, authors: Collection[int]) -> None:
        """Drop authors whose lists were found empty after this was known, each unless it was put again since."""
        with self._lock:
            if authors and self._known.marker == known.marker:
                kept = {
                    author: put
                    for author, put in self._known.authors.items()
                    if put > known.number or author not in authors
                }
                for author in self._known.authors.keys() - kept:
                    self._drop(author)
                self._known = replace(self._known, authors=kept)

    def keep_only(self, known: Snapshot, authors: frozenset[int]) -> None:
        """Forget all others: these, read after that was known, are all that have something on their list."""
        self.forget(known, known.authors.keys() - authors)
        self._left = len(self._known.authors)

    def are_many(self) -> bool:
        """Whether it is time to look which authors still have something on their list."""
        return len(self._known.authors) > 2 * self._left + _FEW_AUTHORS

    def _since(self, known: Snapshot) -> list[Invalidation] | None:
        """What was put after this was known; None if that cannot be told."""
        if self._known.marker != known.marker or not known.marker:
            return None
        later = [put for put in self._news if put.number > known.number]
        return later if len(later) == max(0, self._known.number - known.number) else None

    def _apply_all(self, marker: bytes, news: Sequence[Invalidation]) -> None:
        if self._known.marker != marker or self._known.number + 1 < news[0].number:
            return  # it was begun anew meanwhile
        latest = self._known.latest
        for put in news:
            if put.number <= self._known.number:
                continue
            self._news.append(put)
            self._forget_bodies(put)
            if put.author != NO_AUTHOR:
                self._known.authors[put.author] = put.number
                self._apply(put)
                latest = latest.with_post(put.post_id, put.author)
        self._known = replace(
            self._known, number=max(self._known.number, news[-1].number), latest=latest
        )

    def _apply(self, put: Invalidation) -> None:
        copy = self._known.lists.get(put.author)
        if copy is None:
            return
        if put.post_id == WHOLE_LIST or len(copy.ids) >= self._longest:
            self._drop(put.author)  # a list that long is trimmed: the next read copies it again
            return
        longer = copy.with_post(put.post_id)
        self._weight += len(longer.ids) - len(copy.ids)
        self._known.lists[put.author] = longer

    def _forget_bodies(self, put: Invalidation) -> None:
        if put.author == NO_AUTHOR and put.post_id == ANY_POSTS:
            self._known.bodies.clear()
            self._bytes = 0
        else:
            self._drop_body(
                put.post_id
            )  # also of a new post: somebody may have asked for its id before, and been told that it is gone

    def _drop_body(self, post_id: int) -> None:
        body = self._known.bodies.pop(post_id, None)
        if body is not None:
            self._bytes -= len(body.json) + _BYTES_AROUND

    def _drop(self, author: int) -> None:
        copy = self._known.lists.pop(author, None)
        if copy is not None:
            self._weight -= len(copy.ids) + _IDS_AROUND
