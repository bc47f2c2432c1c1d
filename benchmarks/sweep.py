"""A run of the mix W1 under one threshold, and what it cost, split by what it was for.

An operation costs what this process, which stands for the web server, and the server use meanwhile. What goes on behind the uploads
costs what workers and broker use, and the server between the operations. Each read of a feed that exists is done twice, in turn first
and second, the other time by a process that sees no celebrity list: what a read costs more than that is merging. After each upload
the run waits for its fan-out: so every post is a message of its own, as it is at the rates that a service is built for. No clock
runs: the run itself sweeps, after so many posts and when all its operations are done.
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
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.service import Bench, Pool
    from benchmarks.speed import Speed
    from benchmarks.state import State
    from benchmarks.w1 import Operation

# Kinds of reads: of a feed that exists, the same once more by a process that sees no celebrity list, and of one that is gone.
READ, BLIND, REBUILD = "read", "blind", "rebuild"

_POLL_SECONDS = 0.003
# How often the machine's speed is looked at, in operations.
_SAMPLED = 50
# What a sweep a second finds at ten posts a second.
_POSTS_A_SWEEP = 10
# The rounds of small fan-outs that come after the last post.
_SETTLE_SECONDS = 0.3


@dataclass(frozen=True)
class Run:
    """What a run did, and its processor seconds: by kind of operation, and behind the uploads."""

    promote_at: int
    operations: Mapping[str, int]
    seconds: Mapping[str, float]
    behind: float
    wall: float
    lists: int
    # The followers of each post that was pushed.
    pushed: Sequence[int]
    # What the piece of work of `speed` took meanwhile.
    pace: float

    def at_pace(self, pace: float) -> Run:
        """The same on a machine that does that piece of work in so many seconds."""
        factor = pace / self.pace
        seconds = {kind: each * factor for kind, each in self.seconds.items()}
        return replace(self, seconds=seconds, behind=self.behind * factor, pace=pace)

    @property
    def reads(self) -> int:
        """All reads, those that had to rebuild the feed first included."""
        return self.operations[READ] + self.operations[REBUILD]


class _Counting(UsageCounter):
    """Counts the lists that reads merge, as every process does, and tells."""

    lists = 0

    def note(self, seconds: float, lists: int) -> None:
        self.lists += lists
        super().note(seconds, lists)


class _Meter:
    """Processor seconds of operations by kind, and of everything else."""

    def __init__(self, bench: Bench, workers: Pool) -> None:
        self._server, self._behind = [bench.server.pid], [*workers.pids, bench.broker.pid]
        self.operations: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        self._in_operations = 0.0
        self._began = time.perf_counter(), seconds_of(self._server + self._behind)

    def perform(self, kind: str, bench: Bench, operation: Operation) -> int | None:
        """Do it, and charge it to its kind."""
        own, at = time.process_time(), seconds_of(self._server)
        done = w1.perform(bench, operation)
        server = seconds_of(self._server) - at
        self.seconds[kind] += time.process_time() - own + server
        self.operations[kind] += 1
        self._in_operations += server
        return done

    def rest(self) -> tuple[float, float]:
        """What was used outside operations, by others than this process; and how long all took."""
        began, at = self._began
        return seconds_of(
            self._server + self._behind
        ) - at - self._in_operations, time.perf_counter() - began


def run(
    state: State, workers: Pool, promote_at: int, operations: Sequence[Operation], speed: Speed
) -> Run:
    """The operations, under this threshold, until every pushed post is off its celebrity list."""
    counting, pushed = _Counting(), []
    seeing, blind = state.turn(
        promote_at, {each.account for each in operations if each.what != "post"}, counting
    )
    meter, own = _Meter(seeing, workers), 0.0
    for number, operation in enumerate(operations):
        if number % _SAMPLED == 0:
            speed.sample()
        if operation.what == "read" and operation.account not in state.cold:
            _read(meter, [(READ, seeing), (BLIND, blind)][:: 1 if number % 2 else -1], operation)
            continue
        post = meter.perform(
            REBUILD if operation.what == "read" else operation.what, seeing, operation
        )
        _note_cold(state, operation)
        if post is not None:
            state.posts.setdefault(operation.account, []).insert(0, post)
            if state.sizes[operation.account] < promote_at:
                pushed.append(state.sizes[operation.account])
                until(lambda post=post: _is_done(seeing, post), _POLL_SECONDS)
                own += _sweep(seeing) if len(pushed) % _POSTS_A_SWEEP == 0 else 0.0
    time.sleep(_SETTLE_SECONDS)
    own += _sweep(seeing)
    behind, wall = meter.rest()
    return Run(
        promote_at,
        meter.operations,
        meter.seconds,
        behind + own,
        wall,
        counting.lists,
        pushed,
        speed.take(),
    )


def _read(meter: _Meter, processes: Sequence[tuple[str, Bench]], operation: Operation) -> None:
    """The same read by each of these processes."""
    for kind, bench in processes:
        meter.perform(kind, bench, operation)


def _note_cold(state: State, operation: Operation) -> None:
    """Who has lost the feed, or has it again."""
    if operation.what == "read":
        state.cold.discard(operation.account)
    elif operation.what != "post":
        state.cold.add(operation.account)


def _is_done(bench: Bench, post: int) -> bool:
    with bench.stores.sql.reading() as connection:
        return connection.scalar(sa.select(Fanout.state).where(Fanout.post_id == post)) == "done"


def _sweep(bench: Bench) -> float:
    """Take every pushed post off its list, as if its time had come; processor seconds of this process."""
    with bench.stores.sql.writing() as connection:
        connection.execute(
            sa.update(Fanout).where(Fanout.next_look_at.is_not(None)).values(next_look_at=now())
        )
    began = time.process_time()
    sweep.sweep(bench.stores, bench.services.enqueue)
    return time.process_time() - began
