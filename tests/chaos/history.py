"""What clients have asked for and been answered, and whether each read was right: the oracle's bounds under concurrency.

Everything has a start and an end on one clock of ticks. An operation under way may have happened or not; a read must show what surely
was in the feed from its start to its end, and may show what possibly was at some moment of it.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections import defaultdict
from dataclasses import dataclass, field

from tests.oracle import Oracle

NEVER = float("inf")


@dataclass
class Stretch:
    """From a start to an end; an end of NEVER is still to come."""

    start: float
    end: float = NEVER


@dataclass
class Post:
    """A post as far as it is known: its upload, and its deletion if there was one."""

    id: int
    author: int
    upload: Stretch
    deletion: Stretch | None = None

    def surely(self, read):
        return self.upload.end < read.start and (
            self.deletion is None or self.deletion.start > read.end
        )

    def maybe(self, read):
        return self.upload.start < read.end and (
            self.deletion is None or self.deletion.end > read.start
        )


@dataclass
class Page:
    """One page as it was read."""

    viewer: int
    above: float
    limit: int
    ids: list[int]
    is_last: bool
    read: Stretch


@dataclass
class Pair:
    """What two accounts are to each other: one operation after the other, each leading to a state."""

    first: tuple
    changes: list[tuple[Stretch, tuple]] = field(default_factory=list)

    def during(self, read):
        """Every state that may have held at some moment of the read."""
        states = [(Stretch(-1, -1), self.first), *self.changes]
        following = [change[0].end for change in self.changes] + [NEVER]
        return [
            state
            for (stretch, state), end in zip(states, following, strict=True)
            if stretch.start < read.end and end > read.start
        ]


class History:
    def __init__(self):
        self._lock, self._ticks = threading.Lock(), itertools.count(1)
        self.operations = []  # as the oracle takes them, in an order that agrees with every answer
        self.posts, self._of_author = {}, defaultdict(list)
        self._pairs, self._oracle = {}, Oracle()
        self._under_way = set()
        self._unjudged, self.judged, self.wrong = [], 0, []

    def begin(self):
        """A stretch that starts now."""
        with self._lock:
            stretch = Stretch(next(self._ticks))
            self._under_way.add(stretch.start)
            return stretch

    def end(self, stretch):
        with self._lock:
            stretch.end = next(self._ticks)
            self._under_way.discard(stretch.start)

    def uploaded(self, author, post_id, stretch):
        with self._lock:
            assert post_id not in self.posts, f"two uploads were given the id {post_id}"
            self.posts[post_id] = Post(post_id, author, stretch)
            bisect.insort(self._of_author[author], post_id)
            self._happened("post", author, post_id)

    def deleting(self, post_id, stretch):
        with self._lock:
            self.posts[post_id].deletion = stretch

    def deleted(self, post_id):
        with self._lock:
            self._happened("delete", post_id)

    def changing(self, kind, account, other, stretch):
        """A relation is about to change; nobody else changes anything between these two meanwhile."""
        with self._lock:
            self._pair(account, other).changes.append((stretch, self._after(kind, account, other)))

    def changed(self, kind, account, other):
        with self._lock:
            self._happened(kind, account, other)

    def refused(self, account, other):
        """It was not: what was noted last did not happen."""
        with self._lock:
            self._pair(account, other).changes.pop()

    def read(self, page):
        with self._lock:
            self._unjudged.append(page)

    def judge(self):
        """Judge every page that nothing under way can concern any more."""
        with self._lock:
            settled = min(self._under_way, default=NEVER)
            ready = [page for page in self._unjudged if page.read.end < settled]
            self._unjudged = [page for page in self._unjudged if page.read.end >= settled]
            for page in ready:
                self.judged += 1
                self.wrong += self._faults_of(page)

    def must_show(self, viewer, whole):
        """What a walk must have shown: every post that surely was in the feed from its beginning to its end."""
        with self._lock:
            return {
                post.id
                for post in self.posts.values()
                if post.surely(whole) and self._sees(viewer, post.author, whole, all)
            }

    def _faults_of(self, page):
        ids, last = page.ids, page.ids[-1] if page.ids and not page.is_last else 0
        if ids != sorted(set(ids), reverse=True) or any(post >= page.above for post in ids):
            yield f"not in order, or twice: {page}"
        if len(ids) != page.limit and not page.is_last:
            yield f"not full: {page}"
        for post_id in ids:
            post = self.posts.get(post_id)
            if (
                post is None
                or not post.maybe(page.read)
                or not self._sees(page.viewer, post.author, page.read, any)
            ):
                yield f"{post_id} is extra: {post} {page}"
        missing = set(self._musts(page, last)) - set(ids)
        if missing:
            yield f"{sorted(missing)} missing: {[self.posts[post] for post in missing]} {page}"

    def _musts(self, page, last):
        for author, ids in self._of_author.items():
            if ids and self._sees(page.viewer, author, page.read, all):
                for post_id in ids[bisect.bisect_right(ids, last) :]:
                    if post_id < page.above and self.posts[post_id].surely(page.read):
                        yield post_id

    def _sees(self, viewer, author, read, over):
        if viewer == author:
            return True
        return over(
            self._shows(state, viewer, author) for state in self._pair(viewer, author).during(read)
        )

    @staticmethod
    def _shows(state, viewer, author):
        follows, mutes, blocks = state
        return (viewer, author) in follows and (viewer, author) not in mutes and not blocks

    def _pair(self, account, other):
        pair = frozenset((account, other))
        if pair not in self._pairs:
            self._pairs[pair] = Pair(self._state(self._oracle, pair))
        return self._pairs[pair]

    def _after(self, kind, account, other):
        """The state of a pair after an operation, by the oracle."""
        pair = frozenset((account, other))
        mind = Oracle()
        mind.follows, mind.mutes, mind.blocks = map(set, self._state(self._oracle, pair))
        getattr(mind, kind)(account, other)
        return self._state(mind, pair)

    @staticmethod
    def _state(oracle, pair):
        one, two = pair
        both = {(one, two), (two, one)}
        return oracle.follows & both, oracle.mutes & both, oracle.blocks & both

    def _happened(self, kind, *arguments):
        self.operations.append((kind, *arguments))
        getattr(self._oracle, kind)(*arguments)
