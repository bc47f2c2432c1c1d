"""One process's copies of `celebrities`, of celebrity lists, and of post bodies."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from feedsvc.forks import call_in_child
from feedsvc.store.near_cache.authors import Authors, Step
from feedsvc.store.near_cache.copies import Copies
from feedsvc.store.near_cache.recent_posts import RecentPosts
from feedsvc.store.near_cache.sizes import authors_bytes
from feedsvc.store.near_cache.snapshot import Body, CachedList, Snapshot
from feedsvc.store.redis import celebrities, invalidation_log
from feedsvc.store.redis.invalidation_log import (
    HIDDEN,
    NO_AUTHOR,
    SHOWN,
    WHOLE_LIST,
    Invalidation,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from feedsvc.store.redis.round_trip import Answer, RoundTrip

# Remember the latest 1,000 invalidations. They are applied to lists and posts that were read before
# them and are stored after them.
_REMEMBERED = 1_000

# The set of authors may take at most half of the budget that the index leaves.
_AUTHORS_SHARE = 2


class NearCache:
    """Copies that every read brings up to date with the invalidation log.

    A read asks the invalidation log in its first round trip (`ask`) and gets a snapshot. Entries of
    the log have numbers without gaps. If an entry may be missing, or the log has another marker,
    the near cache restarts (`reload`). A take-off is not logged, so the post stays in the copy of
    the list. The post is in the home lists too, and the merge drops repeats.

    Threads share the near cache. Every change is made under the lock, but a read takes no lock to
    use its snapshot. The fields of a snapshot never change, and its lists and bodies are immutable.
    But its set and its dictionaries are the near cache's own, and other threads change them.
    `Snapshot` says how.

    The copies, the set of authors and the index of recent posts together take at most `budget`
    bytes (`sizes.py`). A list or a body may be evicted at any moment. The set of authors is
    complete or absent, because an author's absence from it says that there is nothing to fetch.
    """

    def __init__(self, longest_list: int, budget: int) -> None:
        """Begin with no copies. A put drops the copy of a list of `longest_list` ids or more."""
        self._longest_list, self._budget = longest_list, budget
        self.copies = Copies()
        self._begin()
        call_in_child(self._begin)

    def _begin(self) -> None:
        """Begin with no copies, also in a forked process: the parent may be changing its copies."""
        self._lock = threading.Lock()
        self._remembered: deque[Invalidation] = deque(maxlen=_REMEMBERED)
        self._restart(b"", 0, None, frozenset(), loads=0)

    def _restart(
        self,
        marker: bytes,
        number: int,
        authors: set[int] | None,
        hidden: frozenset[int],
        loads: int,
    ) -> None:
        self.copies.clear()
        self._remembered.clear()
        recent = RecentPosts.within(self._budget)
        room = self._budget - recent.full_bytes
        self.authors = Authors(authors, room // _AUTHORS_SHARE // authors_bytes(1))
        self._snapshot = Snapshot(
            marker,
            number,
            self.authors.complete,
            self.copies.lists.entries,
            loads,
            recent=recent,
            bodies=self.copies.bodies.entries,
            hidden=hidden,
        )

    @property
    def used_bytes(self) -> int:
        """The bytes that everything takes, by the formulas of `sizes.py`."""
        return sum(self.bytes_by_kind().values())

    def bytes_by_kind(self) -> dict[str, int]:
        """Return the bytes of lists, of posts, and of the set of authors with the index."""
        return {
            "list": self.copies.lists.used_bytes,
            "post": self.copies.bodies.used_bytes,
            "other": self._other_bytes,
        }

    @property
    def _other_bytes(self) -> int:
        return authors_bytes(len(self.authors)) + self._snapshot.recent.full_bytes

    @property
    def lists_cached(self) -> int:
        """Return how many celebrity lists are cached."""
        return len(self._snapshot.lists)

    def ask(self, trip: RoundTrip) -> Answer[Snapshot | None]:
        """Ask for the invalidations since the last read.

        The answer is the snapshot for this read. It is None if an invalidation may have been
        missed. Then the caller calls `reload`.
        """
        asked, step = self._snapshot, self.authors.next_step()
        if step is not None:
            take = partial(self._take_part, step)
            celebrities.ask_part(trip, step.cursor, step.size, step.most, take)
        return invalidation_log.ask(trip, asked.number, partial(self._learn, asked))

    def reload(
        self,
        marker: bytes,
        number: int,
        authors: Iterable[int] | None,
        hidden: frozenset[int] = frozenset(),
    ) -> Snapshot:
        """Restart the near cache at a position of the log, unless it is further already.

        Return a snapshot at this position, without lists. `authors` and `hidden`, the accounts
        whose posts are hidden, were read after the position. If `authors` is None, later reads load
        them in steps.
        """
        found = None if authors is None else set(authors)
        with self._lock:
            now = self._snapshot
            if now.marker != marker or now.number < number:
                self._restart(marker, number, found, hidden, now.loads)
            return Snapshot(marker, number, found, loads=now.loads, hidden=hidden)

    def get_lists(
        self, snapshot: Snapshot, authors: Collection[int]
    ) -> tuple[list[CachedList], list[int]]:
        """Return the cached lists of authors, and the authors whose list has to be fetched."""
        found = snapshot.lists_of(authors)
        if all(found):  # the usual case comes first, because there may be hundreds of lists
            self.copies.lists.count(authors, hits=len(found), misses=0)
            return cast("list[CachedList]", found), []
        cached = {
            author: copy for author, copy in zip(authors, found, strict=True) if copy is not None
        }
        missing = [author for author in authors if author not in cached]
        self.copies.lists.count(cached, hits=len(cached), misses=len(missing))
        return list(cached.values()), missing

    def store_lists(self, snapshot: Snapshot, lists: Mapping[int, CachedList]) -> None:
        """Cache lists that were read after `snapshot`, and apply the invalidations since.

        Cache nothing if some of these invalidations are no longer remembered. An author whose list
        is empty is forgotten, unless it was put again since then. A list that is not worth caching
        is left to its reader.
        """
        with self._lock:
            since = self._since(snapshot)
            if since is not None:
                empty = {author for author, copy in lists.items() if copy.is_empty}
                self._forget(empty - {entry.author for entry in since})
                self._store_lists(lists, since)
                self._fit()

    def get_bodies(self, snapshot: Snapshot, post_ids: Sequence[int]) -> list[Body | None]:
        """Return each cached post as of `snapshot` or later, and None for each other post."""
        now = self._snapshot
        is_usable = now.marker == snapshot.marker and now.number >= snapshot.number
        bodies = now.bodies if is_usable else {}
        found = list(map(bodies.get, post_ids))
        if all(found):
            self.copies.bodies.count(post_ids, hits=len(found), misses=0)
        else:
            cached = [post_id for post_id, body in zip(post_ids, found, strict=True) if body]
            self.copies.bodies.count(cached, hits=len(cached), misses=len(found) - len(cached))
        return found

    def store_bodies(self, snapshot: Snapshot, bodies: Mapping[int, Body]) -> None:
        """Cache posts that were read after `snapshot`, except posts that have changed since.

        A post that is not worth caching is left to its reader.
        """
        with self._lock:
            since = self._since(snapshot)
            if since is None or any(entry.is_of_any_posts for entry in since):
                return
            changed = {entry.post_id for entry in since}
            unchanged = {
                post_id: body for post_id, body in bodies.items() if post_id not in changed
            }
            self.copies.store_bodies(unchanged, self._room)
            self._fit()

    @property
    def _room(self) -> int:
        """The bytes that lists and bodies may take together."""
        return max(0, self._budget - self._other_bytes)

    def _fit(self) -> None:
        """Give up the set of authors, or evict copies, until everything fits into the budget.

        Call this under the lock, after every change that may take more room.
        """
        self.authors.give_up_if_too_many()
        if self._snapshot.authors is not self.authors.complete:
            self._snapshot = replace(self._snapshot, authors=self.authors.complete)
        self.copies.fit(self._room)

    def _take_part(self, step: Step, part: celebrities.Part | None) -> None:
        with self._lock:
            for author in self.authors.take(step, part):
                self.copies.lists.drop(author)
            self._fit()

    def _learn(self, asked: Snapshot, entries: invalidation_log.Entries) -> Snapshot | None:
        news = invalidation_log.invalidations(entries, asked.marker, asked.number)
        if not news:
            return None if news is None else asked
        with self._lock:
            self._apply_news(asked.marker, news)
            self._fit()
        hidden = invalidation_log.hidden_after(asked.hidden, news)
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
        hidden = invalidation_log.hidden_after(now.hidden, unknown)
        self._remembered.extend(unknown)
        for entry in unknown:
            if entry.author in (HIDDEN, SHOWN):
                continue
            if entry.is_of_any_posts:
                self.copies.bodies.drop_all()
            else:
                # Drop the body also of a new post: an earlier read may have cached the post as
                # gone.
                self.copies.bodies.drop(entry.post_id)
            if entry.author != NO_AUTHOR:
                self.authors.add(entry.author)
                self._apply(entry)
                recent = recent.with_post(entry.post_id, entry.author)
        number = max(now.number, news[-1].number)
        self._snapshot = replace(now, number=number, recent=recent, hidden=hidden)

    def _apply(self, entry: Invalidation) -> None:
        """Apply a put to the copy of its list.

        Drop a copy that is as long as a list that Redis trims, so that copies stay bounded.
        """
        cached = self.copies.lists.entries.get(entry.author)
        if cached is None:
            return
        if entry.post_id == WHOLE_LIST or len(cached.ids) >= self._longest_list:
            self.copies.lists.drop(entry.author)
        else:
            self.copies.lists.replace(entry.author, cached.with_post(entry.post_id))

    def _store_lists(self, lists: Mapping[int, CachedList], since: Sequence[Invalidation]) -> None:
        now = self._snapshot
        load = now.loads + 1
        loaded = {author: copy._replace(load=load) for author, copy in lists.items()}
        stored = self.copies.store_lists(loaded, self._room)
        for entry in since:
            if entry.author in stored:
                self._apply(entry)
        recent = now.recent.with_lists({author: lists[author].ids for author in stored})
        highest = max((lists[author].floor for author in stored), default=0)
        # Only reads that get this snapshot or a later one use the lists of this load. They read
        # their home lists afterwards.
        self._snapshot = replace(
            now, loads=load, recent=recent, highest_floor=max(now.highest_floor, highest)
        )

    def _forget(self, authors: Collection[int]) -> None:
        """Forget authors whose lists were found empty, and that were not put since.

        The next snapshot has a set without them. A read in progress may have read its home list
        before a post of a forgotten author moved there. It still has to fetch the list of that
        author.
        """
        if authors:
            self.authors.forget(authors)
            for author in authors:
                self.copies.lists.drop(author)
