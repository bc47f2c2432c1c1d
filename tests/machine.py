"""A Hypothesis state machine over HTTP: whatever happens, in whatever order, every walk is the oracle's.

Limits are tiny (tests/conftest.py), so that trims, floors, batches and slices are reached in a few steps. Requests, links and sweeps die
before any of their steps, or are held there while others go on. Only half of the viewers are read after every step: a read mends
what it finds missing, and the others must hold without it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from redis import RedisError

from tests import steps, views
from tests.moments import ACCOUNTS, Moments, accounts, any_of, pairs, relations, step_numbers
from tests.oracle import Oracle
from tests.served import Served, ids_of

WATCHED = ACCOUNTS[:4]

PATHS = {
    "follow": "following",
    "unfollow": "following",
    "mute": "mutes",
    "unmute": "mutes",
    "block": "blocks",
    "unblock": "blocks",
}


@dataclass
class Watch:
    """What a read that takes time may and must show: what was in the feed at some moment of it, and at every moment."""

    viewer: int
    must: set[int]
    may: set[int]
    held: steps.HeldStep | None = None
    limit: int = 2
    cursor: str | None = None
    seen: list[int] = field(default_factory=list)


@dataclass
class Poll:
    """A client that asks upwards; `due` was uploaded since and in the feed ever since."""

    viewer: int
    cursor: str
    known: set[int]
    shown: set[int]
    due: set[int] = field(default_factory=set)


@dataclass
class Change:
    """A change on its way: the operation as the oracle knows it, and how a client asks for it (again)."""

    operation: tuple
    ask: object
    held: steps.HeldStep | None = None
    is_noted: bool = (
        False  # in the log, because it is committed; an equal operation may have been there before
    )


class Machine(Moments):
    engines = None  # (an empty database's URL as a context manager, Valkey, the limits): set by whoever runs it
    runs = steps_taken = walks_taken = 0

    def __init__(self):
        super().__init__()
        fresh_database, self.valkey, limits = self.engines
        self.patch = pytest.MonkeyPatch()
        self._database, self._visible = fresh_database(), steps.visible(self.patch)
        settings = {
            "redis_url": self.valkey.url,
            "broker_url": self.valkey.broker_url,
            "database_url": self._database.__enter__(),
        }
        self._visible.__enter__()
        self.served = Served(self.patch, **settings, **limits)
        self.served.worker.redis.flushall()
        self.log, self.walks, self.polls, self.holds = [], [], [], []
        self.change = None  # one at a time is on its way: committed, it may be seen or not
        self.uploads = self.steps_done = 0
        Machine.runs += 1
        self.oracles = [Oracle()]

    def teardown(self):
        try:
            self.finish_everything()
            for viewer in ACCOUNTS:
                self.is_exact(viewer, 7)
            for _ in range(200):
                if not self.served.queue:
                    break
                self.served.run_link(self.served.queue.pop())
            self.served.sweep()
            for viewer in ACCOUNTS:
                self.is_exact(viewer, 7)
            views.are_true(self.served.worker)
        finally:
            self.served.close()
            self.valkey.forget_snapshot()
            self._visible.__exit__(None, None, None)
            self.patch.undo()
            self._database.__exit__(None, None, None)

    # What is known of the feeds

    def happened(self, operation):
        self.log.append(operation)
        self.reckon()

    def reckon(self):
        """The feeds as they are now; two versions while a committed change is not answered yet."""
        self.oracles = [Oracle(self.log)]
        if self.change and self.change.is_noted:
            self.oracles.append(
                Oracle(
                    [operation for operation in self.log if operation is not self.change.operation]
                )
            )
        for watch in self.walks + [hold for hold in self.holds if isinstance(hold, Watch)]:
            watch.must &= self.surely(watch.viewer)
            watch.may |= self.maybe(watch.viewer)
        for poll in self.polls:
            sure = self.surely(poll.viewer)
            settled = set.intersection(*(set(oracle.posts) for oracle in self.oracles)) - poll.known
            poll.known |= settled
            poll.due = (poll.due | settled) & sure

    def surely(self, viewer):
        return set.intersection(*(set(oracle.feed(viewer)) for oracle in self.oracles))

    def maybe(self, viewer):
        return set.union(*(set(oracle.feed(viewer)) for oracle in self.oracles))

    def is_exact(self, viewer, limit):
        Machine.walks_taken += 1
        ids, cursor = [], None
        while True:
            answer = self.served.page(viewer, limit, cursor)
            assert answer.status_code == 200, answer.text
            ids += ids_of(answer)
            cursor = answer.json["page"]["next_cursor"]
            if cursor is None:
                break
            assert len(answer.json["data"]) == limit, "every page but the last is full"
        assert ids == sorted(set(ids), reverse=True), "nothing twice, newest first"
        if len(self.oracles) == 1:
            assert ids == self.oracles[0].feed(viewer), f"the feed of {viewer - ACCOUNTS[0]}"
        assert self.surely(viewer) <= set(ids) <= self.maybe(viewer), (
            f"the feed of {viewer - ACCOUNTS[0]}"
        )

    # Beginning

    @initialize(
        edges=st.lists(pairs, max_size=30),
        everybody=st.none() | accounts,
        lines=st.none() | st.tuples(st.integers(1, 6), st.integers(0, 2)),
        moved=st.lists(accounts, max_size=3),
        snapshot=st.booleans(),
    )
    def begin(self, edges, everybody, lines, moved, snapshot):
        for account in ACCOUNTS:
            self.served.ask("PUT", f"/v1/accounts/{account}", account)
        edges = list(
            dict.fromkeys(
                edges
                + [(everybody, other) for other in ACCOUNTS if everybody and other != everybody]
            )
        )
        if edges:
            lines_of = [
                {"follower": str(a), "followee": str(b), "action": "follow"} for a, b in edges
            ]
            assert (
                self.served.ask(
                    "POST", "/v1/follows/batch", 1, "service", json=lines_of
                ).status_code
                == 200
            )
        for a, b in edges:
            self.happened(("follow", a, b))
        if lines:
            self.set_threshold(*lines, 100)
        for author in moved:
            self.posts_move(author, 0, 1)
        if snapshot:
            self.valkey.snapshot()

    # What people do

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

    @rule(which=any_of)
    def delete(self, which):
        change = self.deletion_of(which)
        if change:
            self.answered(change, change.ask())

    @rule(kind=relations, pair=pairs)
    def relate(self, kind, pair):
        change = self.relation_of(kind, *pair)
        self.answered(change, change.ask())

    @rule(line=st.integers(1, 6), gap=st.integers(0, 2), percent=st.sampled_from([0, 50, 100]))
    def set_threshold(self, line, gap, percent):
        body = {
            "promote_at": line + gap,
            "demote_at": line,
            "rollout_percent": percent,
            "reason": "test",
        }
        answer = self.served.ask(
            "PUT", "/v1/admin/threshold", 1, "admin:write", json=body, headers={"If-Match": "*"}
        )
        assert answer.status_code == 200

    @rule(which=any_of)
    def roll_back(self, which):
        version = self.served.ask("GET", "/v1/admin/threshold", 1, "admin:read").json["version"]
        body = {"version": which % version + 1, "reason": "test"}
        answer = self.served.ask(
            "POST",
            "/v1/admin/threshold/rollback",
            1,
            "admin:write",
            json=body,
            headers={"If-Match": "*"},
        )
        assert answer.status_code == 200

    @rule(account=accounts, route=st.sampled_from(["push", "pull", None]))
    def pin(self, account, route):
        path = f"/v1/admin/accounts/{account}/route"
        if route:
            assert (
                self.served.ask(
                    "PUT", path, 1, "admin:write", json={"route": route, "reason": "test"}
                ).status_code
                == 200
            )
        else:
            assert self.served.ask("DELETE", path, 1, "admin:write").status_code == 204

    @rule(viewer=accounts, limit=st.sampled_from([1, 2, 3, 100]))
    def read(self, viewer, limit):
        self.is_exact(viewer, limit)

    # Walks and polls that stay open

    @rule(viewer=accounts)
    @precondition(lambda self: len(self.walks) < 3)
    def start_walk(self, viewer):
        self.walks.append(Watch(viewer, self.surely(viewer), self.maybe(viewer)))
        self.walk_on(len(self.walks) - 1)

    @rule(which=any_of)
    @precondition(lambda self: self.walks)
    def walk_on(self, which):
        walk = self.walks[which % len(self.walks)]
        answer = self.served.page(walk.viewer, walk.limit, walk.cursor)
        ids, walk.cursor = ids_of(answer), answer.json["page"]["next_cursor"]
        assert set(ids) <= self.maybe(walk.viewer), "hidden means hidden"
        walk.seen += ids
        assert walk.seen == sorted(set(walk.seen), reverse=True), "nothing twice, newest first"
        if walk.cursor:
            assert len(ids) == walk.limit, "every page but the last is full"
        else:
            self.walks.remove(walk)
            assert walk.must <= set(walk.seen), (
                f"the walk of {walk.viewer - ACCOUNTS[0]} misses posts"
            )

    @rule(viewer=accounts, limit=st.sampled_from([2, 100]))
    @precondition(lambda self: len(self.polls) < 2 and len(self.oracles) == 1)
    def start_poll(self, viewer, limit):
        answer = self.served.page(viewer, limit)
        shown = set(ids_of(answer))
        self.polls.append(
            Poll(viewer, answer.json["page"]["prev_cursor"], set(self.oracles[0].posts), shown)
        )

    @rule(which=any_of, limit=st.sampled_from([1, 2, 100]))
    @precondition(lambda self: self.polls)
    def poll(self, which, limit):
        poll = self.polls[which % len(self.polls)]
        while True:
            answer = self.served.page(poll.viewer, limit, poll.cursor)
            ids, poll.cursor = ids_of(answer), answer.json["page"]["prev_cursor"]
            assert set(ids) <= self.maybe(poll.viewer), "hidden means hidden"
            assert not poll.shown & set(ids), "each once"
            poll.shown |= set(ids)
            if not ids:
                break
        assert poll.due <= poll.shown, f"the poll of {poll.viewer - ACCOUNTS[0]} misses posts"

    # What workers do

    @rule(which=any_of, fate=st.sampled_from(["once", "once", "once", "twice", "lost"]))
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
    def run_a_round(self):
        self.work(self.served.run_micro_batch)

    @rule()
    def sweep(self):
        self.work(self.served.sweep)

    # What befalls Redis

    @rule(viewer=accounts)
    def expire_a_feed(self, viewer):
        self.served.worker.redis.delete(self.served.worker.keys.homefeed(viewer))

    @rule(which=any_of)
    def evict_a_key(self, which):
        there = sorted(self.served.worker.redis.keys())
        if there:
            self.served.worker.redis.delete(there[which % len(there)])

    @rule()
    def flush(self):
        self.served.worker.redis.flushall()

    @rule()
    def snapshot(self):
        self.valkey.snapshot()

    @rule()
    def restart_redis(self):
        """It comes back with its latest snapshot, or empty if there is none."""
        self.valkey.restart()

    # What dies, and what is held, between any two of its steps

    @rule(viewer=accounts, after=step_numbers)
    def a_read_dies(self, viewer, after):
        steps.dies(lambda: self.served.page(viewer, 2), after)

    @rule(which=any_of, after=step_numbers, comes_back=st.booleans())
    @precondition(lambda self: self.served.queue)
    def a_link_dies(self, which, after, comes_back):
        link = self.served.queue.pop(which % len(self.served.queue))
        self.work(lambda: steps.dies(lambda: self.served.run_link(link), after))
        if comes_back:
            self.served.queue.append(link)

    @rule(after=step_numbers)
    def a_round_dies(self, after):
        self.work(lambda: steps.dies(self.served.run_micro_batch, after))

    @rule(after=step_numbers)
    def a_sweep_dies(self, after):
        self.work(lambda: steps.dies(self.served.sweep, after))

    @rule(
        kind=relations, pair=pairs, after=step_numbers, mended=st.sampled_from(["retry", "sweep"])
    )
    @precondition(lambda self: self.change is None)
    def a_relation_dies(self, kind, pair, after, mended):
        self.dies(self.relation_of(kind, *pair), after, mended)

    @rule(author=accounts, after=step_numbers, mended=st.sampled_from(["retry", "sweep"]))
    @precondition(lambda self: self.change is None)
    def an_upload_dies(self, author, after, mended):
        self.dies(self.upload_of(author), after, mended)

    @rule(which=any_of, after=step_numbers, mended=st.sampled_from(["retry", "sweep"]))
    @precondition(lambda self: self.change is None and self.oracles[0].posts)
    def a_deletion_dies(self, which, after, mended):
        self.dies(self.deletion_of(which), after, mended)

    @rule(viewer=accounts, after=step_numbers)
    @precondition(lambda self: len(self.holds) < 3)
    def hold_a_read(self, viewer, after):
        watch = Watch(viewer, self.surely(viewer), self.maybe(viewer))
        watch.held = steps.HeldStep(lambda: self.served.page(viewer, 100), after)
        self.holds.append(watch)

    @rule(which=any_of, after=step_numbers)
    @precondition(lambda self: self.served.queue and len(self.holds) < 3)
    def hold_a_link(self, which, after):
        link = self.served.queue.pop(which % len(self.served.queue))
        self.holds.append(steps.HeldStep(lambda: self.served.run_link(link), after))

    @rule(after=step_numbers)
    @precondition(lambda self: len(self.holds) < 3)
    def hold_a_round(self, after):
        self.holds.append(steps.HeldStep(self.served.run_micro_batch, after))

    @rule(after=step_numbers)
    @precondition(lambda self: len(self.holds) < 3)
    def hold_a_sweep(self, after):
        self.holds.append(steps.HeldStep(self.served.sweep, after))

    @rule(kind=relations, pair=pairs, after=step_numbers)
    @precondition(lambda self: self.change is None)
    def hold_a_relation(self, kind, pair, after):
        self.hold(self.relation_of(kind, *pair), after)

    @rule(author=accounts, after=step_numbers)
    @precondition(lambda self: self.change is None)
    def hold_an_upload(self, author, after):
        self.hold(self.upload_of(author), after)

    @rule(which=any_of, after=step_numbers)
    @precondition(lambda self: self.change is None and self.oracles[0].posts)
    def hold_a_deletion(self, which, after):
        self.hold(self.deletion_of(which), after)

    @rule(which=any_of)
    @precondition(lambda self: self.holds)
    def let_go(self, which):
        hold = self.holds.pop(which % len(self.holds))
        if isinstance(hold, Watch):
            answer = hold.held.go_on()
            ids = ids_of(answer)
            must = {post for post in hold.must if len(ids) < 100 or post > ids[-1]}
            assert must <= set(ids) <= hold.may | self.maybe(hold.viewer), (
                f"a held read of {hold.viewer - ACCOUNTS[0]}"
            )
        else:
            self.work(hold.go_on)

    @rule()
    @precondition(lambda self: self.change is not None)
    def let_the_change_go(self):
        change = self.change
        answer = change.held.go_on()
        self.change = None
        if change.is_noted:
            if answer.status_code >= 500:
                self.served.sweep()  # it was given up after its commit: the sweep owes the rest
            self.reckon()
        else:
            self.answered(change, answer)

    # What holds at every moment

    @invariant()
    def every_walk_is_the_oracles(self):
        self.steps_done += 1
        Machine.steps_taken += 1
        if self.log:
            for number, viewer in enumerate(WATCHED):
                self.is_exact(viewer, [2, 3, 100][(self.steps_done + number) % 3])

    @invariant()
    def stored_views_are_true(self):
        if self.change is None and self.log:
            views.are_true(self.served.worker)

    # How

    def time_passes(self, pause_ms, late):
        self.served.clock_ms += pause_ms
        self.served.late_ms = 1_900 if late else 0

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
        return Change(
            (kind, account, other),
            lambda: self.served.ask(method, f"/v1/accounts/me/{PATHS[kind]}/{other}", account),
        )

    def answered(self, change, answer):
        """The client has its answer: the change holds from now on, if it was accepted."""
        assert answer.status_code in (200, 201, 204, 403, 404), answer.text
        if answer.status_code == 201:
            self.happened(("post", change.operation[1], int(answer.json["id"])))
        elif answer.status_code == 204:
            self.happened(change.operation)

    def committed(self, change):
        """The change is in the database, and its client has no answer yet."""
        if change.operation[0] == "post":
            change.operation = (*change.operation[:2], self.served.drawn)
        change.is_noted = True
        self.change = change
        self.happened(change.operation)

    def dies(self, change, after, mended):
        answer, plan = steps.dies(change.ask, after)
        if answer is not None:
            return self.answered(change, answer)
        if plan.committed:
            self.committed(change)
            self.every_walk_is_the_oracles()
        if mended == "sweep":
            self.served.sweep()
        else:
            answer = change.ask()
            if not plan.committed:
                return self.answered(change, answer)
            assert answer.status_code in (201, 204)
        self.change = None
        return self.reckon()

    def hold(self, change, after):
        change.held = steps.HeldStep(change.ask, after)
        if change.held.is_over:
            self.answered(change, change.held.go_on())
        elif change.held.committed:
            self.committed(change)
        else:
            self.change = change

    def work(self, task):
        """A worker's task: one that loses Redis in the middle is lost, and swept."""
        with suppress(RedisError):
            task()

    def finish_everything(self):
        while self.holds:
            self.let_go(0)
        if self.change:
            self.let_the_change_go()
