"""A Hypothesis state machine over HTTP: after every step, each walk equals the oracle's.

The limits are tiny (tests/conftest.py), so a few steps reach trims, floors, batches and slices.
Requests, links, micro-batches and sweeps die before any of their steps, or pause there while other
rules run. Only half of the viewers are read after every step. A read repairs the views that it
finds missing, so the feeds of the other viewers must stay right without repairs.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from feedsvc.errors import StoreUnavailable
from tests import steps, views
from tests.moments import ACCOUNTS, Moments, accounts, any_index, pairs, relations, step_numbers
from tests.oracle import Oracle
from tests.served import Served, ids_of

# The viewers whose feeds are read after every step.
READ_ALWAYS = ACCOUNTS[:4]

PATHS = {
    "follow": "following",
    "unfollow": "following",
    "mute": "mutes",
    "unmute": "mutes",
    "block": "blocks",
    "unblock": "blocks",
}


@dataclass
class OpenRead:
    """A walk or a paused read in progress, with the bounds of its answer.

    `must`: posts that were in the feed at every moment of the read. `may`: posts that were in the
    feed at some moment.
    """

    viewer: int
    must: set[int]
    may: set[int]
    call: steps.PausedCall | None = None
    limit: int = 2
    cursor: str | None = None
    seen: list[int] = field(default_factory=list)


@dataclass
class Poll:
    """A client that asks for newer posts.

    `existing`: every post that has existed for certain. `due`: posts that were uploaded since the
    poll began and have been in the feed ever since; the next poll must show them.
    """

    viewer: int
    cursor: str
    existing: set[int]
    shown: set[int]
    due: set[int] = field(default_factory=set)


@dataclass
class Change:
    """A change under way: its operation for the oracle, and the request that a client repeats.

    `is_logged`: the operation is in the machine's log, because it is committed. The log alone does
    not say so: an equal operation may be older.
    """

    operation: tuple
    ask: object
    call: steps.PausedCall | None = None
    is_logged: bool = False


class Machine(Moments):
    # (a context manager that gives an empty database's URL, Valkey, the limits), set by the caller.
    engines = None
    runs = steps_taken = walks_taken = 0

    def __init__(self):
        super().__init__()
        fresh_database, self.valkey, limits = self.engines
        self.patch = pytest.MonkeyPatch()
        self._database, self._counted = fresh_database(), steps.counted(self.patch)
        settings = {
            "redis_url": self.valkey.url,
            "broker_url": self.valkey.broker_url,
            "database_url": self._database.__enter__(),
        }
        self._counted.__enter__()
        self.served = Served(self.patch, **settings, **limits)
        self.served.worker.redis.flushall()
        self.log, self.walks, self.polls, self.paused = [], [], [], []
        self.change = None  # at most one change is under way
        self.uploads = self.steps_done = 0
        Machine.runs += 1
        self.oracles = [Oracle()]

    def teardown(self):
        try:
            self.finish_everything()
            for viewer in ACCOUNTS:
                self.assert_exact(viewer, 7)
            for _ in range(200):
                if not self.served.queue:
                    break
                self.served.run_link(self.served.queue.pop())
            self.served.sweep()
            for viewer in ACCOUNTS:
                self.assert_exact(viewer, 7)
            views.are_true(self.served.worker)
        finally:
            self.served.close()
            self.valkey.forget_snapshot()
            self._counted.__exit__(None, None, None)
            self.patch.undo()
            self._database.__exit__(None, None, None)

    # The oracle's feeds

    def log_operation(self, operation):
        self.log.append(operation)
        self.recompute()

    def recompute(self):
        """Replay the log.

        While a committed change has no answer yet, it may be visible or not. Then there are two
        oracles: with the change, and without it.
        """
        self.oracles = [Oracle(self.log)]
        if self.change and self.change.is_logged:
            # By identity: an equal operation of the past stays.
            others = [each for each in self.log if each is not self.change.operation]
            self.oracles.append(Oracle(others))
        for read in self.walks + [each for each in self.paused if isinstance(each, OpenRead)]:
            read.must &= self.certain(read.viewer)
            read.may |= self.possible(read.viewer)
        for poll in self.polls:
            existing = set.intersection(*(set(oracle.posts) for oracle in self.oracles))
            new = existing - poll.existing
            poll.existing |= new
            poll.due = (poll.due | new) & self.certain(poll.viewer)

    def certain(self, viewer):
        """Return the posts that the viewer's feed has by every oracle."""
        return set.intersection(*(set(oracle.feed(viewer)) for oracle in self.oracles))

    def possible(self, viewer):
        """Return the posts that the viewer's feed has by at least one oracle."""
        return set.union(*(set(oracle.feed(viewer)) for oracle in self.oracles))

    def assert_exact(self, viewer, limit):
        """Walk the whole feed and compare it with the oracle's."""
        Machine.walks_taken += 1
        ids, cursor = [], None
        while True:
            answer = self.served.page(viewer, limit, cursor)
            assert answer.status_code == 200, answer.text
            ids += ids_of(answer)
            cursor = answer.json["page"]["next_cursor"]
            if cursor is None:
                break
            assert len(answer.json["data"]) == limit, "a page before the last is not full"
        assert ids == sorted(set(ids), reverse=True), "a post twice, or not newest first"
        name = f"the feed of {viewer - ACCOUNTS[0]}"
        if len(self.oracles) == 1:
            assert ids == self.oracles[0].feed(viewer), name
        assert self.certain(viewer) <= set(ids) <= self.possible(viewer), name

    # The beginning

    @initialize(
        edges=st.lists(pairs, max_size=30),
        follows_all=st.none() | accounts,
        thresholds=st.none() | st.tuples(st.integers(1, 6), st.integers(0, 2)),
        moved=st.lists(accounts, max_size=3),
        snapshot=st.booleans(),
    )
    def begin(self, edges, follows_all, thresholds, moved, snapshot):
        for account in ACCOUNTS:
            self.served.ask("PUT", f"/v1/accounts/{account}", account)
        if follows_all:
            edges = edges + [(follows_all, other) for other in ACCOUNTS if other != follows_all]
        edges = list(dict.fromkeys(edges))
        if edges:
            lines = [{"follower": str(a), "followee": str(b), "action": "follow"} for a, b in edges]
            answer = self.served.ask("POST", "/v1/follows/batch", 1, "service", json=lines)
            assert answer.status_code == 200
        for a, b in edges:
            self.log_operation(("follow", a, b))
        if thresholds:
            self.set_threshold(*thresholds, 100)
        for author in moved:
            self.posts_move(author, 0, 1)
        if snapshot:
            self.valkey.snapshot()

    # Users

    @rule(
        author=accounts,
        count=st.integers(1, 5),
        late=st.booleans(),
        pause_ms=st.sampled_from([0, 0, 1, 700, 9_000]),
    )
    def post(self, author, count, late, pause_ms):
        for number in range(count):
            self.time_passes(pause_ms, late and number == count - 1)
            change = self.upload_of(author)
            self.answered(change, change.ask())

    @rule(which=any_index)
    def delete(self, which):
        change = self.deletion_of(which)
        if change:
            self.answered(change, change.ask())

    @rule(kind=relations, pair=pairs)
    def relate(self, kind, pair):
        change = self.relation_of(kind, *pair)
        self.answered(change, change.ask())

    @rule(demote_at=st.integers(1, 6), gap=st.integers(0, 2), percent=st.sampled_from([0, 50, 100]))
    def set_threshold(self, demote_at, gap, percent):
        body = {
            "promote_at": demote_at + gap,
            "demote_at": demote_at,
            "rollout_percent": percent,
            "reason": "test",
        }
        assert self.administer("PUT", "threshold", body).status_code == 200

    @rule(which=any_index)
    def roll_back(self, which):
        version = self.served.ask("GET", "/v1/admin/threshold", 1, "admin:read").json["version"]
        body = {"version": which % version + 1, "reason": "test"}
        assert self.administer("POST", "threshold/rollback", body).status_code == 200

    @rule(account=accounts, route=st.sampled_from(["push", "pull", None]))
    def pin(self, account, route):
        path = f"accounts/{account}/route"
        if route:
            body = {"route": route, "reason": "test"}
            assert self.administer("PUT", path, body).status_code == 200
        else:
            assert self.administer("DELETE", path).status_code == 204

    def administer(self, method, path, body=None):
        about = {"json": body, "headers": {"If-Match": "*"}} if body else {}
        return self.served.ask(method, f"/v1/admin/{path}", 1, "admin:write", **about)

    @rule(viewer=accounts, limit=st.sampled_from([1, 2, 3, 100]))
    def read(self, viewer, limit):
        self.assert_exact(viewer, limit)

    # Walks and polls over many steps

    @rule(viewer=accounts)
    @precondition(lambda self: len(self.walks) < 3)
    def start_walk(self, viewer):
        self.walks.append(OpenRead(viewer, self.certain(viewer), self.possible(viewer)))
        self.continue_walk(len(self.walks) - 1)

    @rule(which=any_index)
    @precondition(lambda self: self.walks)
    def continue_walk(self, which):
        walk = self.walks[which % len(self.walks)]
        answer = self.served.page(walk.viewer, walk.limit, walk.cursor)
        ids, walk.cursor = ids_of(answer), answer.json["page"]["next_cursor"]
        assert set(ids) <= self.possible(walk.viewer), "a hidden post is shown"
        walk.seen += ids
        assert walk.seen == sorted(set(walk.seen), reverse=True), (
            "a post twice, or not newest first"
        )
        if walk.cursor:
            assert len(ids) == walk.limit, "a page before the last is not full"
        else:
            self.walks.remove(walk)
            name = f"the walk of {walk.viewer - ACCOUNTS[0]}"
            assert walk.must <= set(walk.seen), f"{name} misses posts"

    @rule(viewer=accounts, limit=st.sampled_from([2, 100]))
    @precondition(lambda self: len(self.polls) < 2 and len(self.oracles) == 1)
    def start_poll(self, viewer, limit):
        answer = self.served.page(viewer, limit)
        existing, shown = set(self.oracles[0].posts), set(ids_of(answer))
        self.polls.append(Poll(viewer, answer.json["page"]["prev_cursor"], existing, shown))

    @rule(which=any_index, limit=st.sampled_from([1, 2, 100]))
    @precondition(lambda self: self.polls)
    def poll(self, which, limit):
        poll = self.polls[which % len(self.polls)]
        while True:
            answer = self.served.page(poll.viewer, limit, poll.cursor)
            ids, poll.cursor = ids_of(answer), answer.json["page"]["prev_cursor"]
            assert set(ids) <= self.possible(poll.viewer), "a hidden post is shown"
            assert not poll.shown & set(ids), "a poll shows a post twice"
            poll.shown |= set(ids)
            if not ids:
                break
        assert poll.due <= poll.shown, f"the poll of {poll.viewer - ACCOUNTS[0]} misses posts"

    # Workers

    @rule(which=any_index, fate=st.sampled_from(["once", "once", "once", "twice", "lost"]))
    @precondition(lambda self: self.served.queue)
    def run_link(self, which, fate):
        link = self.served.queue.pop(which % len(self.served.queue))
        for _ in range({"once": 1, "twice": 2, "lost": 0}[fate]):
            self.work(lambda: self.served.run_link(link))

    @rule()
    @precondition(lambda self: self.served.queue)
    def drain(self):
        for _ in range(60):
            if not self.served.queue:
                break
            self.run_link(0, "once")

    @rule()
    def run_a_micro_batch(self):
        self.work(self.served.run_micro_batch)

    @rule()
    def sweep(self):
        self.work(self.served.sweep)

    # Redis loses data

    @rule(viewer=accounts)
    def expire_a_feed(self, viewer):
        self.served.worker.redis.delete(self.served.worker.keys.homefeed(viewer))

    @rule(which=any_index)
    def evict_a_key(self, which):
        keys = sorted(self.served.worker.redis.keys())
        if keys:
            self.served.worker.redis.delete(keys[which % len(keys)])

    @rule()
    def flush(self):
        self.served.worker.redis.flushall()

    @rule()
    def snapshot(self):
        self.valkey.snapshot()

    @rule()
    def restart_redis(self):
        """Redis comes back with its latest snapshot, or empty if there is none."""
        self.valkey.restart()

    # Processes die between two steps

    @rule(viewer=accounts, after=step_numbers)
    def a_read_dies(self, viewer, after):
        steps.dies(lambda: self.served.page(viewer, 2), after)

    @rule(which=any_index, after=step_numbers, is_redelivered=st.booleans())
    @precondition(lambda self: self.served.queue)
    def a_link_dies(self, which, after, is_redelivered):
        link = self.served.queue.pop(which % len(self.served.queue))
        self.work(lambda: steps.dies(lambda: self.served.run_link(link), after))
        if is_redelivered:
            self.served.queue.append(link)

    @rule(after=step_numbers)
    def a_micro_batch_dies(self, after):
        self.work(lambda: steps.dies(self.served.run_micro_batch, after))

    @rule(after=step_numbers)
    def a_sweep_dies(self, after):
        self.work(lambda: steps.dies(self.served.sweep, after))

    @rule(
        kind=relations, pair=pairs, after=step_numbers, repair=st.sampled_from(["retry", "sweep"])
    )
    @precondition(lambda self: self.change is None)
    def a_relation_dies(self, kind, pair, after, repair):
        self.dies(self.relation_of(kind, *pair), after, repair)

    @rule(author=accounts, after=step_numbers, repair=st.sampled_from(["retry", "sweep"]))
    @precondition(lambda self: self.change is None)
    def an_upload_dies(self, author, after, repair):
        self.dies(self.upload_of(author), after, repair)

    @rule(which=any_index, after=step_numbers, repair=st.sampled_from(["retry", "sweep"]))
    @precondition(lambda self: self.change is None and self.oracles[0].posts)
    def a_deletion_dies(self, which, after, repair):
        self.dies(self.deletion_of(which), after, repair)

    # Processes pause between two steps

    @rule(viewer=accounts, after=step_numbers)
    @precondition(lambda self: len(self.paused) < 3)
    def pause_a_read(self, viewer, after):
        read = OpenRead(viewer, self.certain(viewer), self.possible(viewer))
        read.call = steps.PausedCall(lambda: self.served.page(viewer, 100), after)
        self.paused.append(read)

    @rule(which=any_index, after=step_numbers)
    @precondition(lambda self: self.served.queue and len(self.paused) < 3)
    def pause_a_link(self, which, after):
        link = self.served.queue.pop(which % len(self.served.queue))
        self.paused.append(steps.PausedCall(lambda: self.served.run_link(link), after))

    @rule(after=step_numbers)
    @precondition(lambda self: len(self.paused) < 3)
    def pause_a_micro_batch(self, after):
        self.paused.append(steps.PausedCall(self.served.run_micro_batch, after))

    @rule(after=step_numbers)
    @precondition(lambda self: len(self.paused) < 3)
    def pause_a_sweep(self, after):
        self.paused.append(steps.PausedCall(self.served.sweep, after))

    @rule(kind=relations, pair=pairs, after=step_numbers)
    @precondition(lambda self: self.change is None)
    def pause_a_relation(self, kind, pair, after):
        self.pause(self.relation_of(kind, *pair), after)

    @rule(author=accounts, after=step_numbers)
    @precondition(lambda self: self.change is None)
    def pause_an_upload(self, author, after):
        self.pause(self.upload_of(author), after)

    @rule(which=any_index, after=step_numbers)
    @precondition(lambda self: self.change is None and self.oracles[0].posts)
    def pause_a_deletion(self, which, after):
        self.pause(self.deletion_of(which), after)

    @rule(which=any_index)
    @precondition(lambda self: self.paused)
    def resume(self, which):
        paused = self.paused.pop(which % len(self.paused))
        if isinstance(paused, OpenRead):
            ids = ids_of(paused.call.resume())
            # A full page of 100 says nothing about older posts.
            must = {post for post in paused.must if len(ids) < 100 or post > ids[-1]}
            may = paused.may | self.possible(paused.viewer)
            name = f"a paused read of {paused.viewer - ACCOUNTS[0]}"
            assert must <= set(ids) <= may, name
        else:
            self.work(paused.resume)

    @rule()
    @precondition(lambda self: self.change is not None)
    def resume_the_change(self):
        change = self.change
        answer = change.call.resume()
        self.change = None
        if change.is_logged:
            if answer.status_code >= 500:
                self.served.sweep()  # the request failed after its commit; the sweep finishes it
            self.recompute()
        else:
            self.answered(change, answer)

    # Invariants

    @invariant()
    def every_walk_is_the_oracles(self):
        self.steps_done += 1
        Machine.steps_taken += 1
        if self.log:
            for number, viewer in enumerate(READ_ALWAYS):
                self.assert_exact(viewer, [2, 3, 100][(self.steps_done + number) % 3])

    @invariant()
    def stored_views_are_true(self):
        if self.change is None and self.log:
            views.are_true(self.served.worker)

    # Parts of the rules

    def time_passes(self, pause_ms, late):
        """Move the clock on. For a late upload the database's clock is a minute behind."""
        self.served.clock_ms += pause_ms
        self.served.behind_ms = 60_000 if late else 0

    def upload_of(self, author):
        self.uploads += 1
        key = f"upload-{self.uploads}"
        return Change(("post", author, None), lambda: self.served.upload(author, key))

    def deletion_of(self, which):
        posts = sorted(self.oracles[0].posts)
        if not posts:
            return None
        post = posts[which % len(posts)]
        author = self.oracles[0].posts[post]
        return Change(
            ("delete", post), lambda: self.served.ask("DELETE", f"/v1/posts/{post}", author)
        )

    def relation_of(self, kind, account, other):
        method = "DELETE" if kind.startswith("un") else "PUT"
        path = f"/v1/accounts/me/{PATHS[kind]}/{other}"
        return Change((kind, account, other), lambda: self.served.ask(method, path, account))

    def answered(self, change, answer):
        """Log a change whose client has its answer, if it was accepted. It holds from now on."""
        assert answer.status_code in (200, 201, 204, 403, 404), answer.text
        if answer.status_code == 201:
            self.log_operation(("post", change.operation[1], int(answer.json["id"])))
        elif answer.status_code == 204:
            self.log_operation(change.operation)

    def committed(self, change):
        """Log a change that is in the database, but whose client has no answer yet."""
        if change.operation[0] == "post":
            change.operation = (*change.operation[:2], self.served.drawn)
        change.is_logged = True
        self.change = change
        self.log_operation(change.operation)

    def dies(self, change, after, repair):
        """Let a change die before a step, then finish it by a client's retry or by a sweep."""
        answer, plan = steps.dies(change.ask, after)
        if answer is not None:
            return self.answered(change, answer)
        if plan.committed:
            self.committed(change)
            self.every_walk_is_the_oracles()
        if repair == "sweep":
            self.served.sweep()
        else:
            answer = change.ask()
            if not plan.committed:
                return self.answered(change, answer)
            assert answer.status_code in (201, 204)
        self.change = None
        return self.recompute()

    def pause(self, change, after):
        """Pause a change before a step; log it if it has committed by then."""
        change.call = steps.PausedCall(change.ask, after)
        if change.call.is_over:
            self.answered(change, change.call.resume())
        elif change.call.committed:
            self.committed(change)
        else:
            self.change = change

    def work(self, task):
        """Run a worker's task. A task that loses Redis is lost; a sweep finishes its work."""
        with suppress(StoreUnavailable):
            task()

    def finish_everything(self):
        while self.paused:
            self.resume(0)
        if self.change:
            self.resume_the_change()
