"""What `threshold simulate` takes: the graph from SQL, the events of the mix W1, and a replay for each of two thresholds."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from benchmarks.service import WORKERS, opened
from feedsvc.cli.replay import deployment_of
from feedsvc.graph import generate
from feedsvc.planning import calibrated
from feedsvc.planning.replay import follow_graph
from feedsvc.planning.replay.simulation import pulled_accounts, simulate
from feedsvc.planning.replay.workload import Rates
from feedsvc.planning.replay.workload import generate as generate_events
from feedsvc.routing.policy import Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.options import Options
    from feedsvc.store import Stores

_ACCOUNTS = 1_000_000
_EVENTS = 10_000_000
_RATES = Rates(posts_per_second=10, reads_per_second=1_000)
# One that pulls about a thousandth of the accounts, and one that pulls none.
_THRESHOLDS = (1_000, 100_000)


def measure(options: Options) -> dict[str, Any]:
    """Seconds of each step, and of all."""
    accounts, events = options.scaled(_ACCOUNTS, 100), options.scaled(_EVENTS, 1_000)
    series: dict[str, list[float]] = defaultdict(list)
    with opened() as bench:
        generate.load(bench.stores, accounts, seed=1)
        for number in tqdm(
            range(options.rounds), desc="replay", unit=" rounds", leave=False, disable=None
        ):
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
        "notes": [
            "Replay: wall-clock seconds of one process; the graph is read from SQL each time, as the command does."
        ],
    }


def _round(stores: Stores, events: int, seed: int) -> dict[str, float]:
    took: dict[str, float] = {}
    deployment = deployment_of(stores.limits, WORKERS, calibrated.DEFAULT_COSTS)

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        answer = work()
        took[name] = time.perf_counter() - started
        return answer

    graph = timed("graph", lambda: follow_graph.load(stores))
    workload = timed("events", lambda: generate_events(graph, events, _RATES, seed))
    for promote_at in _THRESHOLDS:
        lines = Thresholds(1, promote_at, promote_at)
        pulled = pulled_accounts(graph, lines, lines, {})
        timed(
            f"replay at {promote_at:,}",
            lambda pulled=pulled: simulate(graph, workload, pulled, deployment),
        )
    return took
