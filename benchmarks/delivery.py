"""P4 and P5: a post to all of the crowd, alone and while others read."""

from __future__ import annotations

import time
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from benchmarks import feeds, load
from benchmarks.processor import Meter, per_unit
from benchmarks.service import workers

if TYPE_CHECKING:
    from benchmarks.crowd import Crowd
    from benchmarks.options import Options

_LEAST_SECONDS = 4.0
# A load generator of its own takes so long to start.
_START_SECONDS = 0.5


def measure(crowd: Crowd, options: Options) -> dict[str, Any]:
    """Rounds of: the limit, a post, reads, a post while others read."""
    bench, rounds, spent, read, reads = crowd.bench, [], Counter[str](), Counter[str](), 0
    with workers(bench) as pool:
        meter = Meter(
            {"workers": pool.pids, "server": [bench.server.pid], "broker": [bench.broker.pid]}
        )
        reader = Meter({"web": crowd.web.pids, "server": [bench.server.pid]})
        feeds.deliver(bench, crowd.followers)  # the first task of a worker loads code and scripts
        for _ in tqdm(
            range(options.rounds), desc="a post to all", unit=" rounds", leave=False, disable=None
        ):
            limit = bench.server.limit(crowd.followers, crowd.followers)
            meter.start()
            seconds = feeds.deliver(bench, crowd.followers)
            spent.update(meter.spent())
            reader.start()
            idle = load.run(crowd.reading(max(_LEAST_SECONDS, seconds)))
            read.update(reader.spent() | {"load generator": idle.processor_seconds})
            reads += len(idle.latencies)
            rounds.append(
                {
                    "limit": limit,
                    "seconds": seconds,
                    "idle": idle.latencies,
                    "during": _read_during(crowd, seconds),
                }
            )
    delivered = crowd.followers * options.rounds
    return _result(crowd, rounds) | {
        "processor": {
            "µs per delivery": per_unit(spent, delivered),
            "µs per read": per_unit(read, reads),
        }
    }


def _read_during(crowd: Crowd, expected_seconds: float) -> list[float]:
    """The latencies of reads that were due while a post was being delivered."""
    reading = load.start(crowd.reading(_START_SECONDS + max(_LEAST_SECONDS, 2 * expected_seconds)))
    time.sleep(2 * _START_SECONDS)
    started = time.time()
    seconds = feeds.deliver(crowd.bench, crowd.followers)
    return load.collect(reading).between(started, started + seconds)


def _result(crowd: Crowd, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    p99s = {name: [load.percentile(row[name], 99) for row in rounds] for name in ("idle", "during")}
    series = {
        "limit, pushes/s": [row["limit"] for row in rounds],
        "upload to last follower, s": [row["seconds"] for row in rounds],
        "limit's time for as many, s": [crowd.followers / row["limit"] for row in rounds],
        "read p50 idle, ms": [1_000 * median(row["idle"]) for row in rounds],
        "read p99 idle, ms": [1_000 * value for value in p99s["idle"]],
        "read p99 during the fan-out, ms": [1_000 * value for value in p99s["during"]],
    }
    rows = {
        "P4": [row["seconds"] * row["limit"] / crowd.followers for row in rounds],
        "P5": [during / idle for during, idle in zip(p99s["during"], p99s["idle"], strict=True)],
    }
    return {"rows": rows, "series": series}
