"""One process's copies of `celebrities`, of celebrity lists, and of post bodies."""

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
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from feedsvc.store.near_cache.snapshot import Body, CachedList
    from feedsvc.store.redis.round_trip import Answer, RoundTrip

# The ids of 8 bytes that all cached lists may have together: 32 MB. Each list counts 40 ids more
# for the objects around it.
_MAX_IDS = 4_000_000
_IDS_AROUND = 40

# The bytes that all cached posts may take together: 32 MB. Each counts 200 bytes more for the
# objects around it.
_MAX_BYTES = 32 << 20
_BYTES_AROUND = 200

# How many invalidations are remembered for lists and bodies that arrive after them.
_REMEMBERED = 1_000

# Authors are pruned when there are twice as many as after the last pruning, and this many more.
_FEW_AUTHORS = 1_000


class NearCache:
    """Copies that every read brings up to date, and that are exact as of the read's snapshot.

    A read asks the invalidation log in its first round trip (`ask`) and gets a snapshot. Entries of
    the log have numbers without gaps. If an entry may be missing, or the log has another marker,
    the near cache starts again (`reload`). A post that is taken off a celebrity list stays in its
    copy: the post is in the home lists by then, and readers drop repeats.

    Threads share the near cache. Every change is made under the lock, but a read takes no lock to
    use its snapshot. A snapshot is immutable, and so is each list and each body in it. Only its
    dictionaries are shared with the near cache and change under a reader. `Snapshot` says how.
    """

    def __init__(
        self, longest_list: int, max_ids: int = _MAX_IDS, max_bytes: int = _MAX_BYTES
    ) -> None:
        """Begin with no copies. A put drops the copy of a list of `longest_list` ids or more."""
        self._longest_list, self._max_ids, self._max_bytes = longest_list, max_ids, max_bytes
        self._lock = threading.Lock()
        self._snapshot = Snapshot(b"", 0, {})
        self._remembered: deque[Invalidation] = deque(maxlen=_REMEMBERED)
        self._ids = self._bytes = 0
        self._authors_after_pruning = 0

    def ask(self, trip: RoundTrip) -> Answer[Snapshot | None]:
        """Ask for the invalidations since the last read.

        The answer is the snapshot for this read. It is None if an invalidation may have been
        missed. Then the caller calls `reload`.
        """
        asked = self._snapshot
        return invalidation_log.ask(trip, asked.number, partial(self._learn, asked))

    def reload(self, marker: bytes, number: int, authors: Iterable[int]) -> Snapshot:
        """Start again, with authors that were read after the log had this marker and number."""
        with self._lock:
            now = self._snapshot
            loaded = Snapshot(marker, number, dict.fromkeys(authors, number), loads=now.loads)
            if now.marker != marker or now.number < number:
                self._snapshot = loaded
                self._authors_after_pruning = len(loaded.authors)
                self._ids = self._bytes = 0
                self._remembered.clear()
        return loaded

    def store_lists(self, snapshot: Snapshot, lists: Mapping[int, CachedList]) -> None:
        """Cache lists that were read at `snapshot`, unless invalidations since then have been lost.

        An author whose list is empty is forgotten, unless it was put again since then.
        """
        with self._lock:
            since = self._since(snapshot)
            if since is not None:
                self._store_lists(lists, since)
            self._forget(snapshot, {author for author in lists if lists[author].is_empty})

    def get_bodies(self, snapshot: Snapshot, post_ids: Sequence[int]) -> list[Body | None]:
        """Return the cached posts as they were at `snapshot` or later; None for each other post."""
        now = self._snapshot
        if now.marker != snapshot.marker or now.number < snapshot.number:
            return [None] * len(post_ids)
        return list(map(now.bodies.get, post_ids))

    def store_bodies(self, snapshot: Snapshot, bodies: Mapping[int, Body]) -> None:
        """Cache posts that were read at `snapshot`, except posts that have changed since then."""
        with self._lock:
            since = self._since(snapshot)
            if since is None or any(map(_is_of_any_posts, since)):
                return
            changed = {entry.post_id for entry in since}
            for post_id in bodies.keys() - changed:
                self._drop_body(post_id)
                self._snapshot.bodies[post_id] = bodies[post_id]
                self._bytes += len(bodies[post_id].json) + _BYTES_AROUND
            while self._bytes > self._max_bytes:
                _, body = self._snapshot.bodies.popitem(last=False)
                self._bytes -= len(body.json) + _BYTES_AROUND

    def prune(self, snapshot: Snapshot, read_authors: Callable[[], frozenset[int]]) -> None:
        """Forget the authors with nothing on their list, each time the authors have doubled.

        `read_authors` reads all authors with anything on their list, after `snapshot`.
        """
        if len(self._snapshot.authors) > 2 * self._authors_after_pruning + _FEW_AUTHORS:
            gone = snapshot.authors.keys() - read_authors()
            with self._lock:
                self._forget(snapshot, gone)
                self._authors_after_pruning = len(self._snapshot.authors)

    def _learn(self, asked: Snapshot, entries: invalidation_log.Entries) -> Snapshot | None:
        news = invalidation_log.invalidations(entries, asked.marker, asked.number)
        if not news:
            return None if news is None else asked
        with self._lock:
            self._apply_news(asked.marker, news)
        return replace(asked, number=news[-1].number, news=news)

    def _since(self, snapshot: Snapshot) -> list[Invalidation] | None:
        """Return the invalidations since a snapshot; None if some are not remembered."""
        now = self._snapshot
        if now.marker != snapshot.marker or not snapshot.marker:
            return None
        since = [entry for entry in self._remembered if entry.number > snapshot.number]
        return since if len(since) == max(0, now.number - snapshot.number) else None

    def _apply_news(self, marker: bytes, news: Sequence[Invalidation]) -> None:
        now = self._snapshot
        if now.marker != marker or now.number + 1 < news[0].number:
            return  # another thread has started the near cache again
        recent = now.recent
        for entry in news:
            if entry.number <= now.number:
                continue
            self._remembered.append(entry)
            if _is_of_any_posts(entry):
                now.bodies.clear()
                self._bytes = 0
            else:
                # This holds for a new post, too: a read may have asked for its id before, and
                # have cached that it is gone.
                self._drop_body(entry.post_id)
            if entry.author != NO_AUTHOR:
                now.authors[entry.author] = entry.number
                self._apply(entry)
                recent = recent.with_post(entry.post_id, entry.author)
        self._snapshot = replace(now, number=max(now.number, news[-1].number), recent=recent)

    def _apply(self, entry: Invalidation) -> None:
        """Apply a put to the copy of its list. A list of full length is trimmed soon: drop it."""
        cached = self._snapshot.lists.get(entry.author)
        if cached is None:
            return
        if entry.post_id == WHOLE_LIST or len(cached.ids) >= self._longest_list:
            self._drop_list(entry.author)
            return
        longer = cached.with_post(entry.post_id)
        self._ids += len(longer.ids) - len(cached.ids)
        self._snapshot.lists[entry.author] = longer

    def _store_lists(self, lists: Mapping[int, CachedList], since: Sequence[Invalidation]) -> None:
        now = self._snapshot
        load = now.loads + 1
        for author, cached in lists.items():
            self._drop_list(author)
            now.lists[author] = cached._replace(load=load)
            self._ids += len(cached.ids) + _IDS_AROUND
        recent = now.recent.with_lists({author: cached.ids for author, cached in lists.items()})
        for entry in since:
            if entry.author in lists:
                self._apply(entry)
        while self._ids > self._max_ids:
            self._drop_list(next(iter(now.lists)))
        highest = max((cached.floor for cached in lists.values()), default=0)
        # A read that gets this snapshot finds the lists of this load complete.
        self._snapshot = replace(
            now, loads=load, recent=recent, highest_floor=max(now.highest_floor, highest)
        )

    def _forget(self, snapshot: Snapshot, authors: Collection[int]) -> None:
        """Forget authors whose lists were found empty at `snapshot`, unless they were put since.

        The snapshots of earlier reads keep their own dictionary of authors: a post of a forgotten
        author may have moved after their home lists were read.
        """
        now = self._snapshot
        if authors and now.marker == snapshot.marker:
            remaining = {
                author: number
                for author, number in now.authors.items()
                if number > snapshot.number or author not in authors
            }
            for author in now.authors.keys() - remaining:
                self._drop_list(author)
            self._snapshot = replace(now, authors=remaining)

    def _drop_body(self, post_id: int) -> None:
        body = self._snapshot.bodies.pop(post_id, None)
        if body is not None:
            self._bytes -= len(body.json) + _BYTES_AROUND

    def _drop_list(self, author: int) -> None:
        cached = self._snapshot.lists.pop(author, None)
        if cached is not None:
            self._ids -= len(cached.ids) + _IDS_AROUND


def _is_of_any_posts(entry: Invalidation) -> bool:
    return entry.author == NO_AUTHOR and entry.post_id == ANY_POSTS
