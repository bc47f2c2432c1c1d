"""P12: the cost of the mix W1 at five thresholds, at pure push and at pure pull.

The cost is processor seconds of all parts. Every run does the same operations, one after the other
without a pause, on the same network, in the state that its threshold would have left. A run ends
when no fan-out is left. The time that waiting processes use in as many seconds is subtracted. All
runs are brought to one speed of the machine by the time of a follow, on which no threshold has an
effect.
"""

from __future__ import annotations

import random
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from tqdm import tqdm

from benchmarks import history, mixes
from benchmarks.mixes import W1, Population
from benchmarks.processor import Meter
from benchmarks.service import WORKERS, opened, reopened, until, workers
from benchmarks.state import freeze_memory
from feedsvc.graph import generate
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from benchmarks.history import Network
    from benchmarks.results import Options
    from benchmarks.service import Bench

_ACCOUNTS = 100_000
_HISTORY = 30_000
# About twenty seconds for each run.
_OPERATIONS = 25_000
_CAP = 100
_SEED = 1
_ACTIVE_PERCENT = (1, 10, 50, 100)
# The highest threshold pulls only the largest accounts, near the generated graph's maximum.
_THRESHOLDS = (300, 1_000, 3_000, 5_000, 7_000)
_PULL, _PUSH = 1, 10**9
_IDLE_SECONDS = 5.0


@dataclass(frozen=True)
class Day:
    """The network at the start of every run, and its database, from which each run gets a copy."""

    bench: Bench
    network: Network
    database: Path


def measure(options: Options) -> dict[str, Any]:
    """Measure processor seconds for every share of active accounts and every threshold."""
    with opened(feed_cap=_CAP) as bench:
        day = _prepare(bench, options)
        idle = _idle(day)
        runs = [
            (percent, promote_at)
            for percent in _ACTIVE_PERCENT
            for promote_at in (*_THRESHOLDS, _PUSH, _PULL)
        ]
        spent: dict[tuple[int, int], list[float]] = {run: [] for run in runs}
        parts: dict[tuple[int, int], dict[str, float]] = {}
        paces = list[float]()
        for run in tqdm(runs * options.rounds, desc="W1", unit=" runs", leave=False, disable=None):
            parts[run], seconds, pace = _run(day, *run, options)
            paces.append(pace)
            spent[run].append((sum(parts[run].values()) - idle * seconds) / pace)
        server, usual_pace = bench.server.name, statistics.median(paces)
    at_usual_pace = {
        run: [in_follows * usual_pace for in_follows in rounds] for run, rounds in spent.items()
    }
    return _result(at_usual_pace, parts) | {
        "graph": f"generated, {len(day.network.sizes):,} accounts, seed {_SEED}",
        "server": server,
        "settings": {
            "operations": options.scaled(_OPERATIONS, 100),
            "cap": _CAP,
            "workers": WORKERS,
            "idle processor share": round(idle, 4),
        },
    }


def _prepare(bench: Bench, options: Options) -> Day:
    generate.load(bench.stores, options.scaled(_ACCOUNTS, 500), _SEED)
    network = history.make(bench.stores, options.scaled(_HISTORY, 100), _SEED)
    copy = Path(bench.named["data_dir"]) / "day.db"
    with bench.stores.sql.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql(f"VACUUM INTO '{copy}'")
    bench.server.client.save()
    freeze_memory()
    return Day(bench, network, copy)


def _run(
    day: Day, percent: int, promote_at: int, options: Options
) -> tuple[dict[str, float], float, float]:
    """Run W1 once.

    Return processor seconds by part, wall seconds, and processor seconds per follow.
    """
    database = day.database.with_name("run.db")
    for leftover in database.parent.glob("run.db*"):
        leftover.unlink()
    shutil.copy(day.database, database)
    # Restores the first state without a restart, so the run id stays.
    day.bench.server.client.execute_command("DEBUG", "RELOAD", "NOSAVE")
    day.bench.broker.client.flushall()
    # The graph's own seed would draw accounts in the order in which the graph was made.
    source = random.Random(f"W1 {percent}")
    active = source.sample(list(day.network.sizes), max(1, len(day.network.sizes) * percent // 100))
    population = Population(day.network.sizes, day.network.posting, active)
    operations = W1.draw(population, options.scaled(_OPERATIONS, 100), source)
    settings = {
        "database_url": f"sqlite:///{database}",
        "promote_at": promote_at,
        "demote_at": promote_at,
    }
    with reopened(day.bench, **settings) as bench, workers(bench) as pool:
        sizes = day.network.sizes
        large = [author for author in day.network.posts if sizes[author] >= promote_at]
        history.set_route(bench.stores, "pull", large)
        history.materialise(bench.stores, day.network, active, promote_at)
        meter, started = Meter(bench.processes(pool)), time.perf_counter()
        following, follows = 0.0, 0
        for operation in operations:
            began = time.process_time()
            mixes.perform(bench, operation)
            if operation.kind == "follow":
                following, follows = following + time.process_time() - began, follows + 1
        driver = meter.spent()["driver"]  # without the benchmark's own wait for the fan-outs
        until(lambda: _all_settled(bench), 0.5)
        seconds = time.perf_counter() - started
        return meter.spent() | {"driver": driver}, seconds, following / follows


def _all_settled(bench: Bench) -> bool:
    """Return whether every fan-out is done, and every pushed post off its celebrity list."""
    open_fanout = sa.select(Fanout.post_id).where(Fanout.next_look_at.is_not(None)).limit(1)
    with bench.stores.sql.reading() as connection:
        return connection.scalar(open_fanout) is None


def _idle(day: Day) -> float:
    """Return the processor seconds per second of a service without requests."""
    with workers(day.bench) as pool:
        meter = Meter(day.bench.processes(pool))
        time.sleep(_IDLE_SECONDS)
        return sum(meter.spent().values()) / _IDLE_SECONDS


def _result(
    spent: dict[tuple[int, int], list[float]], parts: dict[tuple[int, int], dict[str, float]]
) -> dict[str, Any]:
    names = {_PUSH: "pure push", _PULL: "pure pull"} | {
        threshold: f"threshold {threshold:,}" for threshold in _THRESHOLDS
    }
    rows = {}
    for percent in _ACTIVE_PERCENT:
        best = map(min, zip(*(spent[percent, threshold] for threshold in _THRESHOLDS), strict=True))
        pure = map(min, zip(spent[percent, _PUSH], spent[percent, _PULL], strict=True))
        rows[f"P12 {percent} %"] = [
            hybrid / other for hybrid, other in zip(best, pure, strict=True)
        ]
    grid = (_PULL, *_THRESHOLDS, 10 * _THRESHOLDS[-1])
    lines = {
        f"{percent} % active": [spent[percent, at if at in names else _PUSH] for at in grid]
        for percent in _ACTIVE_PERCENT
    }
    return {
        "rows": rows,
        "series": {
            f"{percent} % active, {names[at]}, processor s": values
            for (percent, at), values in spent.items()
        },
        "processor": {
            f"s of the last run, {percent} % active, {names[at]}": each
            for (percent, at), each in parts.items()
        },
        "curves": [
            {
                "x": grid,
                "x label": "threshold (leftmost: pure pull, rightmost: pure push)",
                "y label": "processor s",
                "lines": lines,
            }
        ],
    }
