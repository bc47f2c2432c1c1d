"""Run a mix under one rule, and measure its processor seconds by purpose.

- This process stands for the web server. An operation costs the processor time of this process and
  of the Redis server during the operation.
- The work behind the uploads costs the time of workers and broker, and that of the Redis server
  between the operations.
- Every read of an existing feed runs twice: once normally, and once as a process that sees no
  celebrity list. The difference is the cost of merging. The order alternates.
- After each upload the run waits for the fan-out, so every post is a message of its own. That is so
  at the rates that a service is built for.
- After each upload both processes look at the news, so that no read pays for it. What the first
  process pays for it is `LEARN`. It then forgets the author of a pushed post, as if it had found
  its list empty again. So no read meets a post on its way: in a service, a post is on its way for
  3.5 s of its life. The second process forgets every author.
- Beat does not run. The run itself sweeps, after every ten pushed posts and at its end.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmarks import mixes
from benchmarks.processor import seconds_of
from benchmarks.recording import BLIND, LEARN, READ, REBUILD, Run
from benchmarks.service import until
from feedsvc.fanout import sweep
from feedsvc.store.near_cache.snapshot import CachedList
from feedsvc.store.redis.keys import usage_of
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.redis.usage import UsageCounter
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.mixes import Operation
    from benchmarks.processor import Speed
    from benchmarks.service import Bench, Pool
    from benchmarks.state import Rule, State
    from feedsvc.routing.policy import Route
    from feedsvc.store.redis.cluster import Redis

_POLL_SECONDS = 0.003
# Operations between two samples of the machine's speed.
_OPERATIONS_A_SAMPLE = 50
# One sweep per second finds this many posts, at ten posts per second.
_POSTS_A_SWEEP = 10
# Time for the last micro-batch, and until a process adds its figures to Redis.
_SETTLE_SECONDS = 1.1
_IDLE_SECONDS = 3.0
_EMPTY = CachedList.of(FloorList.of_newest([], 1))


class _CountingUsage(UsageCounter):
    """A usage counter that keeps the lists of the last read, and adds its counts when it is told.

    A read that adds them would take longer than the same read by the second process.
    """

    last_lists = 0

    def note(self, seconds: float, lists: int) -> None:
        self.last_lists = lists
        super().note(seconds, lists)

    def add(self, *_: object) -> None:
        """Add nothing yet."""

    def flush(self, redis: Redis) -> None:
        """Add the counts of the whole run."""
        trip = RoundTrip(redis)
        super().add(trip)
        trip.run()


class _Sweep:
    """One run: two processes that read, and the meter of their operations and the work behind."""

    def __init__(self, merging: Bench, blind: Bench, usage: _CountingUsage, workers: Pool) -> None:
        self._merging, self._blind, self._usage = merging, blind, usage
        self._server, self._behind = [merging.server.pid], [*workers.pids, merging.broker.pid]
        self.operations: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        self.by_lists: dict[int, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
        self._in_operations = self._sweeping = 0.0
        self._pushed = 0
        self._began = time.perf_counter(), seconds_of(self._server + self._behind)

    def read_twice(self, operation: Operation, *, blind_first: bool) -> None:
        """Read as both processes, and charge the difference to the number of lists."""
        spent = {}
        for kind in (BLIND, READ) if blind_first else (READ, BLIND):
            bench = self._blind if kind == BLIND else self._merging
            _, spent[kind] = self.perform(kind, operation, bench)
        charged = self.by_lists[self._usage.last_lists]
        charged[0] += 1
        charged[1] += spent[READ]
        charged[2] += spent[BLIND]

    def perform(
        self, kind: str, operation: Operation, bench: Bench | None = None
    ) -> tuple[int | None, float]:
        """Perform an operation; return the id of an uploaded post, and the seconds charged."""
        own_before, server_before = time.process_time(), seconds_of(self._server)
        post = mixes.perform(bench or self._merging, operation)
        return post, self._charge(kind, own_before, server_before)

    def learn(self, author: int, route: Route) -> None:
        """Let both processes learn of a new post; see the module about whom they forget."""
        own_before, server_before = time.process_time(), seconds_of(self._server)
        _ask_and_forget(self._merging, [author] if route == "push" else [])
        self._charge(LEARN, own_before, server_before)
        _ask_and_forget(self._blind, [author])

    def sweep_if_many(self) -> None:
        """Sweep after every `_POSTS_A_SWEEP` pushed posts; call this after each of them."""
        self._pushed += 1
        if self._pushed % _POSTS_A_SWEEP == 0:
            self.sweep()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Charge nobody for what the server does in the block."""
        before = seconds_of(self._server)
        yield
        self._in_operations += seconds_of(self._server) - before

    def sweep(self) -> None:
        """Take every pushed post off its celebrity list, as if it were due."""
        due = sa.update(Fanout).where(Fanout.next_look_at.is_not(None))
        with self._merging.stores.sql.writing() as connection:
            connection.execute(due.values(next_look_at=db_time()))
        began = time.process_time()
        sweep.sweep(self._merging.stores, self._merging.services.enqueue)
        self._sweeping += time.process_time() - began

    def behind(self) -> tuple[float, float]:
        """Return the processor seconds behind the uploads, and the wall seconds of all."""
        began, before = self._began
        used = seconds_of(self._server + self._behind) - before
        return used - self._in_operations + self._sweeping, time.perf_counter() - began

    def _charge(self, kind: str, own_before: float, server_before: float) -> float:
        server = seconds_of(self._server) - server_before
        spent = time.process_time() - own_before + server
        self.seconds[kind] += spent
        self.operations[kind] += 1
        self._in_operations += server
        return spent


def run(
    state: State, workers: Pool, rule: Rule, operations: Sequence[Operation], speed: Speed
) -> Run:
    """Run the operations under a rule, until every pushed post is off its celebrity list.

    The follows and new accounts of the run are undone afterwards.
    """
    usage, pushed = _CountingUsage(), list[int]()
    viewers = {each.account for each in operations if each.kind in ("read", "follow", "log out")}
    merging, blind = state.apply(rule, viewers, usage)
    pulled, redis_bytes = state.pulled, state.redis_bytes()
    began_at = int(time.time())
    figures_before = _figures(merging, began_at)
    measured = _Sweep(merging, blind, usage, workers)
    for number, operation in enumerate(operations):
        kind, account = operation.kind, operation.account
        if number % _OPERATIONS_A_SAMPLE == 0:
            speed.sample()
        if kind == "post":
            pushed += _upload(measured, state, operation)
        elif kind != "read":
            measured.perform(kind, operation)
            state.note(operation)
        elif account in state.cold:
            measured.perform(REBUILD, operation)
            with measured.aside():
                state.fill_feed(account)
            state.cold.discard(account)
        else:
            measured.read_twice(operation, blind_first=number % 2 == 0)
    time.sleep(_SETTLE_SECONDS)
    usage.flush(merging.stores.redis)
    measured.sweep()
    behind, wall = measured.behind()
    state.undo(operations)
    return Run(
        promote_at=rule.promote_at,
        operations=dict(measured.operations),
        seconds=dict(measured.seconds),
        behind=behind,
        wall=wall,
        by_lists={lists: tuple(each) for lists, each in sorted(measured.by_lists.items())},
        pushed=pushed,
        pulled=pulled,
        redis_bytes=redis_bytes,
        figures=dict(_figures(merging, began_at) - figures_before),
        pace=speed.take(),
    )


def idle(bench: Bench, workers: Pool) -> float:
    """Return the processor seconds per second of the processes behind uploads while they wait."""
    pids = [bench.server.pid, bench.broker.pid, *workers.pids]
    began, before = time.perf_counter(), seconds_of(pids)
    time.sleep(_IDLE_SECONDS)
    return (seconds_of(pids) - before) / (time.perf_counter() - began)


def _upload(measured: _Sweep, state: State, operation: Operation) -> list[int]:
    """Upload a post and wait for its fan-out; return the number of followers if it was pushed."""
    author = operation.account
    post, _ = measured.perform("post", operation)
    assert post is not None, "an upload returns the id of its post"
    route = _route(state.bench, post)
    with measured.aside():
        state.add_post(author, post, route)
    if route == "push":
        until(lambda: _is_done(state.bench, post), _POLL_SECONDS)
        measured.sweep_if_many()
    measured.learn(author, route)
    return [state.sizes[author]] if route == "push" else []


def _ask_and_forget(bench: Bench, authors: Iterable[int]) -> None:
    """Bring the near cache of a process up to date, and let it find empty lists of authors."""
    near_cache, trip = bench.stores.near_cache, RoundTrip(bench.stores.redis)
    answer = near_cache.ask(trip)
    trip.run()
    assert answer.value is not None, "the log holds far more than the news of ten posts"
    near_cache.store_lists(answer.value, dict.fromkeys(authors, _EMPTY))


def _figures(bench: Bench, since: int) -> Counter[str]:
    """Return the service's own figures from the minute of a time on, added up."""
    found = Counter[str]()
    for minute in range(since // 60, int(time.time()) // 60 + 1):
        for name, value in bench.stores.redis.hgetall(usage_of(minute)).items():
            found[name.decode()] += int(value)
    return found


def _route(bench: Bench, post: int) -> Route:
    with bench.stores.sql.reading() as connection:
        route: Route = connection.execute(sa.select(Post.route).where(Post.id == post)).scalar_one()
        return route


def _is_done(bench: Bench, post: int) -> bool:
    with bench.stores.sql.reading() as connection:
        return connection.scalar(sa.select(Fanout.state).where(Fanout.post_id == post)) == "done"
