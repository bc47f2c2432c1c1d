"""The near cache: the cost of the mix W1's reads if the near cache holds a part of what they need.

Under pure pull the lists of all authors are celebrity lists. A first run with a budget that is
never full tells how many bytes the reads need. In each round one process then reads with the whole
of it, a half, a quarter and an eighth. Before a run every viewer has read, and so have the reads of
the run, so the near cache is as full as after a long time.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import history, mixes
from benchmarks.graphs import SEED
from benchmarks.processor import seconds_of
from benchmarks.recording import PULL
from benchmarks.service import opened
from benchmarks.state import State, freeze_memory
from feedsvc.feed import reader
from feedsvc.graph import generate
from feedsvc.store.near_cache import authors
from feedsvc.store.near_cache.cache import NearCache
from feedsvc.store.redis.usage import UsageCounter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.mixes import Operation
    from benchmarks.results import Options
    from benchmarks.service import Bench

_CAP = 100
_ACCOUNTS, _POSTS_PER_ACCOUNT, _VIEWERS = 60_000, 3, 10_000
_OPERATIONS = 8_120  # about 7,000 reads
# How many times the budget the reads need.
_TIMES = (1, 2, 4, 8)
_NEVER_FULL = 1 << 40
_PAGE = 20
_NOTE = (
    "P17: processor time of this process and of the Redis server, for a read of a feed that is "
    "stored. Lists, posts and the set of celebrities count towards the budget."
)


def measure(options: Options) -> dict[str, Any]:
    """Measure the reads with each budget, in turn."""
    authors.SPREAD_SECONDS = 0.0  # a process that has read for long has loaded the set
    accounts, count = options.scaled(_ACCOUNTS, 2_000), options.scaled(_OPERATIONS, 400)
    source = random.Random(f"near cache {SEED}")
    with opened(feed_cap=_CAP) as bench:
        generate.load(bench.stores, accounts, SEED)
        sizes = history.follower_counts(bench.stores)
        population = mixes.W1.population(sizes, source)
        posts = history.make_posts(
            bench.stores, population.posting, accounts * _POSTS_PER_ACCOUNT, source
        )
        viewers = source.sample(population.active, options.scaled(_VIEWERS, 300))
        among = replace(population, active=viewers)
        runs = _Runs(State(bench, sizes, posts), viewers)
        need = runs.run(_NEVER_FULL, mixes.W1.draw(among, count, source)).used_bytes
        for number in options.each_round("near cache"):
            operations = mixes.W1.draw(among, count, source)
            first = number % len(_TIMES)
            for times in _TIMES[first:] + _TIMES[:first]:
                runs.note(times, runs.run(need // times, operations))
    return {
        "rows": {
            "P17 half": runs.ratios(2),
            "P17 eighth": runs.ratios(8),
        },
        "series": runs.series(),
        "curves": [
            {
                "x": _TIMES,
                "x label": "bytes that the reads need ÷ budget",
                "y label": "µs a read",
                "lines": {"W1, every account pulled": [runs.costs[times] for times in _TIMES]},
            }
        ],
        "settings": {
            "accounts": accounts,
            "viewers": len(viewers),
            "reads a run": round(median(runs.reads)),
            "cap": _CAP,
            "bytes needed": need,
            "database": "sqlite",
        },
        "notes": [_NOTE],
    }


@dataclass(frozen=True)
class _Run:
    """A run: processor microseconds a read, and what its reads counted in the near cache."""

    reads: int
    microseconds: float
    used_bytes: int
    counts: dict[tuple[str, str], int]


@dataclass
class _Runs:
    """Runs on one state. `costs`, `counted`: by times, in each round."""

    state: State
    viewers: Sequence[int]
    costs: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    counted: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    reads: list[int] = field(default_factory=list)

    def run(self, budget: int, operations: Sequence[Operation]) -> _Run:
        """Perform operations as one process whose near cache has this budget."""
        bench = self._warm(budget, operations)
        state, near_cache = self.state, bench.stores.near_cache
        before, reads, seconds = near_cache.copies.counts(), 0, 0.0
        for operation in operations:
            if operation.kind == "read" and operation.account not in state.cold:
                reads += 1
                began = time.process_time() + seconds_of([bench.server.pid])
                mixes.perform(bench, operation)
                seconds += time.process_time() + seconds_of([bench.server.pid]) - began
                continue
            post = mixes.perform(bench, operation)
            state.note(operation)
            if post is not None:
                state.add_post(operation.account, post, "pull")
            elif operation.kind == "read":
                state.cold.discard(operation.account)
        counts = {name: count - before[name] for name, count in near_cache.copies.counts().items()}
        state.undo(operations)
        return _Run(reads, seconds / reads * 1e6, near_cache.used_bytes, counts)

    def note(self, times: int, run: _Run) -> None:
        """Keep the figures of a run."""
        self.reads.append(run.reads)
        self.costs[times].append(run.microseconds)
        for (what, kind), count in run.counts.items():
            self.counted[f"{kind} {what} a read, budget ÷ {times}"].append(count / run.reads)

    def ratios(self, times: int) -> list[float]:
        """Return the cost of a read ÷ its cost where everything fits, in each round."""
        return [cost / fits for cost, fits in zip(self.costs[times], self.costs[1], strict=True)]

    def series(self) -> dict[str, list[float]]:
        """Return the cost of a read with each budget, and what the near cache counted."""
        costs = {f"µs a read, budget ÷ {times}": self.costs[times] for times in _TIMES}
        return costs | self.counted

    def _warm(self, budget: int, operations: Sequence[Operation]) -> Bench:
        """Return the service after the viewers have read for long."""
        self.state.apply(self.state.threshold(PULL), self.viewers, UsageCounter())
        bench = self.state.bench
        stores = replace(
            bench.stores, near_cache=NearCache(bench.stores.limits.longest_list, budget)
        )
        again = [operation.account for operation in operations if operation.kind == "read"]
        for viewer in [*self.viewers, *again]:
            reader.home_page(stores, viewer, None, _PAGE)
        freeze_memory()
        return replace(bench, services=replace(bench.services, stores=stores))
