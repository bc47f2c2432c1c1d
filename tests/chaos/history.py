"""The requests and answers of all clients, and the verdict on each read under concurrency.

Every operation and every read has a start and an end on one clock of ticks. An operation under way
may have taken effect or not. So a read must show the posts that were in the feed for certain from
its start to its end. It may show the posts that were possibly in the feed at some moment of it.
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
class Span:
    """The time from a start to an end; NEVER while the end is still to come."""

    start: float
    end: float = NEVER


@dataclass
class Post:
    """A post with its upload, and its deletion if there was one."""

    id: int
    author: int
    upload: Span
    deletion: Span | None = None

    def exists_throughout(self, read):
        return self.upload.end < read.start and (
            self.deletion is None or self.deletion.start > read.end
        )

    def may_exist_during(self, read):
        return self.upload.start < read.end and (
            self.deletion is None or self.deletion.end > read.start
        )


@dataclass
class Page:
    """A page that a client has read; `above`: the cursor's position, NEVER for a first page."""

    viewer: int
    above: float
    limit: int
    ids: list[int]
    is_last: bool
    read: Span


@dataclass
class Pair:
    """The relations between two accounts: a first state, and changes with the state after each.

    A pair has one change at a time.
    """

    first: tuple
    changes: list[tuple[Span, tuple]] = field(default_factory=list)

    def possible_states(self, read):
        """Return every state that was possible at some moment of the read."""
        states = [(Span(-1, -1), self.first), *self.changes]
        ends = [change[0].end for change in self.changes] + [NEVER]
        return [
            state
            for (span, state), end in zip(states, ends, strict=True)
            if span.start < read.end and end > read.start
        ]


class History:
    def __init__(self):
        self._lock, self._ticks = threading.Lock(), itertools.count(1)
        self.posts, self._of_author = {}, defaultdict(list)
        # The oracle takes operations in the order of their answers.
        self._pairs, self.oracle = {}, Oracle()
        self._under_way = set()
        self._unjudged, self.judged, self.wrong = [], 0, []

    def begin(self):
        """Return a span that starts now."""
        with self._lock:
            span = Span(next(self._ticks))
            self._under_way.add(span.start)
            return span

    def end(self, span):
        with self._lock:
            span.end = next(self._ticks)
            self._under_way.discard(span.start)

    def uploaded(self, author, post_id, span):
        with self._lock:
            assert post_id not in self.posts, f"two uploads were given the id {post_id}"
            self.posts[post_id] = Post(post_id, author, span)
            bisect.insort(self._of_author[author], post_id)
            self.oracle.post(author, post_id)

    def deleting(self, post_id, span):
        with self._lock:
            self.posts[post_id].deletion = span

    def deleted(self, post_id):
        with self._lock:
            self.oracle.delete(post_id)

    def changing(self, kind, account, other, span):
        """Note that a relation is about to change. The caller holds the lock of the pair."""
        with self._lock:
            state = self._state_after(kind, account, other)
            self._pair(account, other).changes.append((span, state))

    def changed(self, kind, account, other):
        with self._lock:
            getattr(self.oracle, kind)(account, other)

    def refused(self, account, other):
        """Drop the last change of the pair: the service refused it."""
        with self._lock:
            self._pair(account, other).changes.pop()

    def add_page(self, page):
        with self._lock:
            self._unjudged.append(page)

    def judge(self):
        """Judge every page that ended before the oldest operation under way began.

        No operation under way or later can affect it.
        """
        with self._lock:
            settled = min(self._under_way, default=NEVER)
            ready = [page for page in self._unjudged if page.read.end < settled]
            self._unjudged = [page for page in self._unjudged if page.read.end >= settled]
            for page in ready:
                self.judged += 1
                self.wrong += self._faults_of(page)

    def must_show(self, viewer, whole):
        """Return the posts that a walk must have shown.

        They were in the feed for certain from the beginning to the end of the walk.
        """
        with self._lock:
            return {
                post.id
                for post in self.posts.values()
                if post.exists_throughout(whole) and self._sees(viewer, post.author, whole, all)
            }

    def _faults_of(self, page):
        ids = page.ids
        if ids != sorted(set(ids), reverse=True) or any(post >= page.above for post in ids):
            yield f"a post twice, or not newest first: {page}"
        if len(ids) != page.limit and not page.is_last:
            yield f"the page is not full: {page}"
        for post_id in ids:
            post = self.posts.get(post_id)
            if (
                post is None
                or not post.may_exist_during(page.read)
                or not self._sees(page.viewer, post.author, page.read, any)
            ):
                yield f"{post_id} is extra: {post} {page}"
        missing = set(self._must_be_on(page)) - set(ids)
        if missing:
            yield f"{sorted(missing)} missing: {[self.posts[post] for post in missing]} {page}"

    def _must_be_on(self, page):
        last = page.ids[-1] if page.ids and not page.is_last else 0
        for author, ids in self._of_author.items():
            if ids and self._sees(page.viewer, author, page.read, all):
                for post_id in ids[bisect.bisect_right(ids, last) :]:
                    if post_id < page.above and self.posts[post_id].exists_throughout(page.read):
                        yield post_id

    def _sees(self, viewer, author, read, quantifier):
        """Return whether the viewer sees the author in `any` or in `all` possible states."""
        if viewer == author:
            return True
        states = self._pair(viewer, author).possible_states(read)
        return quantifier(self._shows(state, viewer, author) for state in states)

    @staticmethod
    def _shows(state, viewer, author):
        follows, mutes, blocks = state
        return (viewer, author) in follows and (viewer, author) not in mutes and not blocks

    def _pair(self, account, other):
        pair = frozenset((account, other))
        if pair not in self._pairs:
            self._pairs[pair] = Pair(self._state(self.oracle, pair))
        return self._pairs[pair]

    def _state_after(self, kind, account, other):
        """Return the state of a pair after an operation, by the oracle."""
        pair = frozenset((account, other))
        oracle = Oracle()
        oracle.follows, oracle.mutes, oracle.blocks = map(set, self._state(self.oracle, pair))
        getattr(oracle, kind)(account, other)
        return self._state(oracle, pair)

    @staticmethod
    def _state(oracle, pair):
        one, two = pair
        both = {(one, two), (two, one)}
        return oracle.follows & both, oracle.mutes & both, oracle.blocks & both
