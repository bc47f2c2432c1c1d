"""Run the mix W1 under one threshold, and measure its processor seconds by purpose.

- This process stands for the web server. An operation costs the processor time of this process and
  of the Redis server during the operation.
- The work behind the uploads costs the time of workers and broker, and that of the Redis server
  between the operations.
- Every read of an existing feed runs twice: once normally, and once as a process that sees no
  celebrity list. The difference is the cost of merging. The order alternates.
- After each upload the run waits for the fan-out, so every post is a message of its own. That is so
  at the rates that a service is built for.
- Beat does not run. The run itself sweeps, after every ten pushed posts and at its end.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmarks import w1
from benchmarks.processor import seconds_of
from benchmarks.service import until
from feedsvc.fanout import sweep
from feedsvc.store.redis.usage import UsageCounter
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.processor import Speed
    from benchmarks.service import Bench, Pool
    from benchmarks.state import State
    from benchmarks.w1 import Operation

# Kinds of reads: of an existing feed, the same read by a process that sees no celebrity list, and
# of a feed that has to be rebuilt first.
READ, BLIND, REBUILD = "read", "blind", "rebuild"

_POLL_SECONDS = 0.003
# Operations between two samples of the machine's speed.
_OPERATIONS_A_SAMPLE = 50
# One sweep per second finds this many posts, at ten posts per second.
_POSTS_A_SWEEP = 10
# Time for the micro-batches after the last post.
_SETTLE_SECONDS = 0.3


@dataclass(frozen=True)
class Run:
    """The operations of a run, and its processor seconds.

    `operations`, `seconds`: by kind. `behind`: processor seconds behind the uploads. `wall`: wall
    seconds. `lists`: lists merged by all reads. `pushed`: the followers of each pushed post.
    `pace`: the mean seconds of `Speed` during the run.
    """

    promote_at: int
    operations: Mapping[str, int]
    seconds: Mapping[str, float]
    behind: float
    wall: float
    lists: int
    pushed: Sequence[int]
    pace: float

    def at_pace(self, pace: float) -> Run:
        """Return the same run as on a machine with this pace."""
        factor = pace / self.pace
        seconds = {kind: each * factor for kind, each in self.seconds.items()}
        return replace(self, seconds=seconds, behind=self.behind * factor, pace=pace)

    @property
    def reads(self) -> int:
        """Return the number of all reads, with those that rebuilt the feed first."""
        return self.operations[READ] + self.operations[REBUILD]


class _CountingUsage(UsageCounter):
    """A usage counter that also adds up the lists that reads merge."""

    lists = 0

    def note(self, seconds: float, lists: int) -> None:
        self.lists += lists
        super().note(seconds, lists)


class _OperationMeter:
    """Measures the processor seconds of operations by kind, and of the work behind them."""

    def __init__(self, bench: Bench, workers: Pool) -> None:
        self._server, self._behind = [bench.server.pid], [*workers.pids, bench.broker.pid]
        self.operations: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        self._in_operations = 0.0
        self._began = time.perf_counter(), seconds_of(self._server + self._behind)

    def perform(self, kind: str, bench: Bench, operation: Operation) -> int | None:
        """Perform an operation and charge it to a kind; return the id of an uploaded post."""
        own_before, server_before = time.process_time(), seconds_of(self._server)
        post = w1.perform(bench, operation)
        server = seconds_of(self._server) - server_before
        self.seconds[kind] += time.process_time() - own_before + server
        self.operations[kind] += 1
        self._in_operations += server
        return post

    def behind(self) -> tuple[float, float]:
        """Return the processor seconds behind the uploads, and the wall seconds of all."""
        began, before = self._began
        used = seconds_of(self._server + self._behind) - before
        return used - self._in_operations, time.perf_counter() - began


def run(
    state: State, workers: Pool, promote_at: int, operations: Sequence[Operation], speed: Speed
) -> Run:
    """Run the operations under a threshold, until every pushed post is off its celebrity list."""
    usage, pushed = _CountingUsage(), []
    viewers = {operation.account for operation in operations if operation.kind != "post"}
    merging, blind = state.apply_threshold(promote_at, viewers, usage)
    meter, sweeping = _OperationMeter(merging, workers), 0.0
    for number, operation in enumerate(operations):
        kind, account = operation.kind, operation.account
        if number % _OPERATIONS_A_SAMPLE == 0:
            speed.sample()
        if kind == "read" and account not in state.cold:
            both = [(READ, merging), (BLIND, blind)]
            for read_kind, bench in both if number % 2 else reversed(both):
                meter.perform(read_kind, bench, operation)
            continue
        post = meter.perform(REBUILD if kind == "read" else kind, merging, operation)
        if kind == "read":
            state.cold.discard(account)
        elif post is None:
            state.cold.add(account)
        else:
            state.posts.setdefault(account, []).insert(0, post)
            if state.sizes[account] < promote_at:
                pushed.append(state.sizes[account])
                until(lambda post=post: _is_done(merging, post), _POLL_SECONDS)
                sweeping += _sweep(merging) if len(pushed) % _POSTS_A_SWEEP == 0 else 0.0
    time.sleep(_SETTLE_SECONDS)
    sweeping += _sweep(merging)
    behind, wall = meter.behind()
    return Run(
        promote_at=promote_at,
        operations=meter.operations,
        seconds=meter.seconds,
        behind=behind + sweeping,
        wall=wall,
        lists=usage.lists,
        pushed=pushed,
        pace=speed.take(),
    )


def _is_done(bench: Bench, post: int) -> bool:
    with bench.stores.sql.reading() as connection:
        return connection.scalar(sa.select(Fanout.state).where(Fanout.post_id == post)) == "done"


def _sweep(bench: Bench) -> float:
    """Take every pushed post off its celebrity list, as if it were due.

    Return the processor seconds of this process.
    """
    with bench.stores.sql.writing() as connection:
        connection.execute(
            sa.update(Fanout).where(Fanout.next_look_at.is_not(None)).values(next_look_at=db_time())
        )
    began = time.process_time()
    sweep.sweep(bench.stores, bench.services.enqueue)
    return time.process_time() - began
