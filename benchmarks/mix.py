"""P12: what the mix W1 costs, in processor seconds of all parts, at five thresholds and at pure push and pure pull.

Every run does the same operations, as fast as they go, on the same network in the state in which its threshold would have left it, and
ends when nothing is left to do. What waiting processes use in as much time is taken off. All are brought to one speed of the machine:
what a follow takes, on which no threshold has a bearing.
"""

from __future__ import annotations

import gc
import random
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from tqdm import tqdm

from benchmarks import history, w1
from benchmarks.processor import Meter
from benchmarks.service import WORKERS, opened, reopened, until, workers
from feedsvc.graph import generate
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from benchmarks.history import Network
    from benchmarks.options import Options
    from benchmarks.service import Bench

_ACCOUNTS = 100_000
_HISTORY = 30_000
# Some twenty seconds' worth.
_OPERATIONS = 25_000
_CAP = 100
_SEED = 1
_ACTIVE_PERCENT = (1, 10, 50, 100)
# Up to where only the largest are pulled, which the graph cuts there; pure push and pure pull beside them.
_THRESHOLDS = (300, 1_000, 3_000, 5_000, 7_000)
_PULL, _PUSH = 1, 10**9
_IDLE_SECONDS = 5.0


@dataclass(frozen=True)
class Day:
    """The network as every run finds it, and its database, to be copied."""

    bench: Bench
    network: Network
    database: Path


def measure(options: Options) -> dict[str, Any]:
    """Processor seconds of every combination of share of active accounts and threshold."""
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
        server, usual = bench.server.name, statistics.median(paces)
    return _result(
        {run: [each * usual for each in found] for run, found in spent.items()}, parts
    ) | {
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
    gc.collect()
    gc.freeze()  # all of this stays: no operation is to be charged with a look through it
    return Day(bench, network, copy)


def _run(
    day: Day, percent: int, promote_at: int, options: Options
) -> tuple[dict[str, float], float, float]:
    """Processor seconds by part, seconds, and processor seconds of a follow, of one run."""
    database = day.database.with_name("run.db")
    for leftover in database.parent.glob("run.db*"):
        leftover.unlink()
    shutil.copy(day.database, database)
    day.bench.server.client.execute_command(
        "DEBUG", "RELOAD", "NOSAVE"
    )  # the same run of the server, with its first state
    day.bench.broker.client.flushall()
    source = random.Random(
        f"W1 {percent}"
    )  # a number that is the graph's seed draws accounts in the order in which it was made
    active = source.sample(list(day.network.sizes), max(1, len(day.network.sizes) * percent // 100))
    operations = w1.draw(day.network.sizes, active, options.scaled(_OPERATIONS, 100), source)
    settings = {
        "database_url": f"sqlite:///{database}",
        "promote_at": promote_at,
        "demote_at": promote_at,
    }
    with reopened(day.bench, **settings) as bench, workers(bench) as pool:
        history.pull(bench.stores, promote_at)
        history.materialise(bench.stores, day.network, active, promote_at)
        meter, started = (
            Meter(
                {"workers": pool.pids, "server": [bench.server.pid], "broker": [bench.broker.pid]}
            ),
            time.perf_counter(),
        )
        following, follows = 0.0, 0
        for operation in operations:
            began = time.process_time()
            w1.perform(bench, operation)
            if operation.what == "follow":
                following, follows = following + time.process_time() - began, follows + 1
        operated = meter.spent()["driver"]  # what waits for the rest is the benchmark's own
        until(lambda: _nothing_left(bench), 0.5)
        return (
            meter.spent() | {"driver": operated},
            time.perf_counter() - started,
            following / follows,
        )


def _nothing_left(bench: Bench) -> bool:
    """Every fan-out is done, and its post off the celebrity list."""
    with bench.stores.sql.reading() as connection:
        return (
            connection.scalar(
                sa.select(Fanout.post_id).where(Fanout.next_look_at.is_not(None)).limit(1)
            )
            is None
        )


def _idle(day: Day) -> float:
    """Processor seconds a second of a service that nobody uses."""
    with workers(day.bench) as pool:
        meter = Meter(
            {
                "workers": pool.pids,
                "server": [day.bench.server.pid],
                "broker": [day.bench.broker.pid],
            }
        )
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
