"""Replay: the time of `threshold simulate` for ten million events and two thresholds.

The steps: load the graph from SQL, generate the events, replay them once for each threshold.
"""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.service import WEB_WORKERS, WORKERS, opened
from feedsvc.graph import generate
from feedsvc.planning import learning
from feedsvc.planning.replay import follow_graph
from feedsvc.planning.replay.simulation import pulled_accounts, simulate
from feedsvc.planning.replay.workload import Rates
from feedsvc.planning.replay.workload import generate as generate_events
from feedsvc.planning.replay.write_path import deployment_of
from feedsvc.routing.policy import Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.results import Options
    from feedsvc.store import Stores

_ACCOUNTS = 1_000_000
_EVENTS = 10_000_000
_RATES = Rates(posts_per_second=10, reads_per_second=1_000)
# The first pulls about a thousandth of the accounts, the second none.
_THRESHOLDS = (1_000, 100_000)
_NOTE = (
    "Replay: wall-clock seconds of one process; the graph is read from SQL each time, "
    "as the command does."
)


def measure(options: Options) -> dict[str, Any]:
    """Measure the seconds of each step, and of all steps."""
    accounts, events = options.scaled(_ACCOUNTS, 100), options.scaled(_EVENTS, 1_000)
    series: dict[str, list[float]] = defaultdict(list)
    with opened() as bench:
        generate.load(bench.stores, accounts, seed=1)
        for number in options.each_round("replay"):
            for name, seconds in _round(bench.stores, events, seed=number).items():
                series[f"{name}, s"].append(seconds)
    return {
        "rows": {"Replay": [sum(each) for each in zip(*series.values(), strict=True)]},
        "series": series,
        "settings": {
            "accounts": accounts,
            "events": events,
            "workers": WORKERS,
            "database": "sqlite",
        },
        "notes": [_NOTE],
    }


def _round(stores: Stores, events: int, seed: int) -> dict[str, float]:
    took: dict[str, float] = {}
    deployment = deployment_of(stores.limits, WORKERS, WEB_WORKERS, learning.DEFAULTS.costs)

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        answer = work()
        took[name] = time.perf_counter() - started
        return answer

    graph = timed("graph", lambda: follow_graph.load(stores))
    workload = timed("events", lambda: generate_events(graph, events, _RATES, seed))
    for promote_at in _THRESHOLDS:
        thresholds = Thresholds(1, promote_at, promote_at)
        pulled = pulled_accounts(graph, thresholds, thresholds, {})
        replay = partial(simulate, graph, workload, pulled, deployment)
        timed(f"replay at {promote_at:,}", replay)
    return took
