"""One process's copies of `celebrities`, of celebrity lists, and of post bodies."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from feedsvc.forks import call_in_child
from feedsvc.store.near_cache.snapshot import Snapshot
from feedsvc.store.redis import invalidation_log
from feedsvc.store.redis.invalidation_log import (
    ANY_POSTS,
    HIDDEN,
    NO_AUTHOR,
    SHOWN,
    WHOLE_LIST,
    Invalidation,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from feedsvc.store.near_cache.snapshot import Body, CachedList
    from feedsvc.store.redis.round_trip import Answer, RoundTrip

# All cached lists together have at most 4,000,000 ids of 8 bytes (32 MB). Each list counts as 40
# ids more, for its Python objects.
_MAX_IDS = 4_000_000
_IDS_AROUND = 40

# All cached posts together take at most 32 MB. Each post counts as 200 bytes more, for its Python
# objects.
_MAX_BYTES = 32 << 20
_BYTES_AROUND = 200

# Remember the latest 1,000 invalidations. They are applied to lists and posts that were read before
# them and are stored after them.
_REMEMBERED = 1_000

# Prune the authors when their number exceeds twice the number after the last pruning, plus 1,000.
_FEW_AUTHORS = 1_000


class NearCache:
    """Copies that every read brings up to date with the invalidation log.

    A read asks the invalidation log in its first round trip (`ask`) and gets a snapshot. Entries of
    the log have numbers without gaps. If an entry may be missing, or the log has another marker,
    the near cache restarts (`reload`). A take-off is not logged, so the post stays in the copy of
    the list. The post is in the home lists too, and the merge drops repeats.

    Threads share the near cache. Every change is made under the lock, but a read takes no lock to
    use its snapshot. The fields of a snapshot never change, and its lists and bodies are immutable.
    But its three dictionaries are the near cache's own, and other threads change them. `Snapshot`
    says how.
    """

    def __init__(
        self, longest_list: int, max_ids: int = _MAX_IDS, max_bytes: int = _MAX_BYTES
    ) -> None:
        """Begin with no copies. A put drops the copy of a list of `longest_list` ids or more."""
        self._longest_list, self._max_ids, self._max_bytes = longest_list, max_ids, max_bytes
        self._begin()
        call_in_child(self._begin)

    def _begin(self) -> None:
        """Begin with no copies, also in a forked process: the parent may be changing its copies."""
        self._lock = threading.Lock()
        self._snapshot = Snapshot(b"", 0, {})
        self._remembered: deque[Invalidation] = deque(maxlen=_REMEMBERED)
        self._ids = self._bytes = 0
        self._authors_after_pruning = 0

    @property
    def lists_cached(self) -> int:
        """Return how many celebrity lists are cached."""
        return len(self._snapshot.lists)

    def ask(self, trip: RoundTrip) -> Answer[Snapshot | None]:
        """Ask for the invalidations since the last read.

        The answer is the snapshot for this read. It is None if an invalidation may have been
        missed. Then the caller calls `reload`.
        """
        asked = self._snapshot
        return invalidation_log.ask(trip, asked.number, partial(self._learn, asked))

    def reload(
        self,
        marker: bytes,
        number: int,
        authors: Iterable[int],
        hidden: frozenset[int] = frozenset(),
    ) -> Snapshot:
        """Restart the near cache at a position of the log, unless it is further already.

        Return a snapshot at this position, without lists. `authors` and `hidden`, the accounts
        whose posts are hidden, were read after the position.
        """
        with self._lock:
            now = self._snapshot
            loaded = Snapshot(
                marker, number, dict.fromkeys(authors, number), loads=now.loads, hidden=hidden
            )
            if now.marker != marker or now.number < number:
                self._snapshot = loaded
                self._authors_after_pruning = len(loaded.authors)
                self._ids = self._bytes = 0
                self._remembered.clear()
        return loaded

    def store_lists(self, snapshot: Snapshot, lists: Mapping[int, CachedList]) -> None:
        """Cache lists that were read after `snapshot`, and apply the invalidations since.

        Cache nothing if some of these invalidations are no longer remembered. An author whose list
        is empty is forgotten, unless it was put again since then.
        """
        with self._lock:
            since = self._since(snapshot)
            if since is not None:
                self._store_lists(lists, since)
            self._forget(snapshot, {author for author in lists if lists[author].is_empty})

    def get_bodies(self, snapshot: Snapshot, post_ids: Sequence[int]) -> list[Body | None]:
        """Return each cached post as of `snapshot` or later, and None for each other post."""
        now = self._snapshot
        if now.marker != snapshot.marker or now.number < snapshot.number:
            return [None] * len(post_ids)
        return list(map(now.bodies.get, post_ids))

    def store_bodies(self, snapshot: Snapshot, bodies: Mapping[int, Body]) -> None:
        """Cache posts that were read after `snapshot`, except posts that have changed since."""
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

        `read_authors` is called after `snapshot` was taken. It returns the authors with a post on
        their list.
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
        hidden = _hidden_after(asked.hidden, news)
        return replace(asked, number=news[-1].number, news=news, hidden=hidden)

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
            # Another thread has restarted the near cache, at another log or at an older position of
            # this log.
            return
        recent = now.recent
        unknown = [entry for entry in news if entry.number > now.number]
        hidden = _hidden_after(now.hidden, unknown)
        self._remembered.extend(unknown)
        for entry in unknown:
            if entry.author in (HIDDEN, SHOWN):
                continue
            if _is_of_any_posts(entry):
                now.bodies.clear()
                self._bytes = 0
            else:
                # Drop the body also of a new post: an earlier read may have cached the post as
                # gone.
                self._drop_body(entry.post_id)
            if entry.author != NO_AUTHOR:
                now.authors[entry.author] = entry.number
                self._apply(entry)
                recent = recent.with_post(entry.post_id, entry.author)
        number = max(now.number, news[-1].number)
        self._snapshot = replace(now, number=number, recent=recent, hidden=hidden)

    def _apply(self, entry: Invalidation) -> None:
        """Apply a put to the copy of its list.

        Drop a copy that is as long as a list that Redis trims, so that copies stay bounded.
        """
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
        # Only reads that get this snapshot or a later one use the lists of this load. They read
        # their home lists afterwards.
        self._snapshot = replace(
            now, loads=load, recent=recent, highest_floor=max(now.highest_floor, highest)
        )

    def _forget(self, snapshot: Snapshot, authors: Collection[int]) -> None:
        """Forget authors whose lists were found empty after `snapshot`, unless they were put since.

        Replace the dictionary of authors, do not change it. A read in progress may have read its
        home list before a post of a forgotten author moved there. It still has to fetch the list of
        that author.
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


def _hidden_after(hidden: frozenset[int], news: Sequence[Invalidation]) -> frozenset[int]:
    """Return the hidden accounts after some entries of the log, in their order."""
    for entry in news:
        if entry.author == HIDDEN:
            hidden |= {entry.post_id}
        elif entry.author == SHOWN:
            hidden -= {entry.post_id}
    return hidden


def _is_of_any_posts(entry: Invalidation) -> bool:
    return entry.author == NO_AUTHOR and entry.post_id == ANY_POSTS
