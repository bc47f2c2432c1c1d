"""P4, P5, P6 and P16: an account with 1.5 million followers, each with a full feed of 100 posts.

P4 and P5 are the time of a fan-out to all followers, alone and while readers read. P6 compares the
time of an upload with that of an account without followers. P16 is in `benchmarks.backlog`.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import backlog, feeds, load
from benchmarks.feeds import LargeAccount
from benchmarks.http import Connection, request
from benchmarks.processor import Meter, per_unit
from benchmarks.service import WEB_WORKERS, WORKERS, opened, token, web, workers
from feedsvc.formats import percentile
from feedsvc.graph.load import load_edges

if TYPE_CHECKING:
    from benchmarks.results import Options
    from benchmarks.service import Bench

_FOLLOWERS = 1_500_000
_CAP = 100
# Followers of each account that makes a backlog, drawn from the large account's followers.
_BUSY_FOLLOWERS = 3_000
_READERS = 5_000
_PEAK_SECONDS = 3.0
_SHARE_OF_PEAK = 0.2
_UPLOADS = 1_000
_LEAST_SECONDS = 4.0
# The time that a load generator takes to start.
_START_SECONDS = 0.5


def measure(options: Options) -> dict[str, Any]:
    """Measure every criterion that needs a million feeds, on one filled server."""
    count = options.scaled(_FOLLOWERS, 100)
    with opened(feed_cap=_CAP) as bench:
        _prepare(bench, count, options.scaled(_BUSY_FOLLOWERS, 10))
        with web(bench) as (port, pool):
            reads = [
                request("GET", "/v1/feed?limit=20", token(reader)).decode()
                for reader in _sample(feeds.followers(count), _READERS, seed=2)
            ]
            plan = load.Plan(port, reads, _PEAK_SECONDS)
            load.run(plan)  # warms feeds, caches and connections
            peak = load.run(plan).rate
            account = LargeAccount(bench, port, pool, count, reads, _SHARE_OF_PEAK * peak)
            delivery = _measure_delivery(account, options)
            others = [_measure_uploads(account, options), backlog.measure(account, options)]
        parts = [delivery, *others]
        series = chain.from_iterable(part["series"].items() for part in parts)
        return {
            "rows": dict(chain.from_iterable(part["rows"].items() for part in parts)),
            "series": {"peak reads/s": [peak], **dict(series)},
            "processor": delivery["processor"],
            "server": bench.server.name,
            "settings": {
                "followers": count,
                "cap": _CAP,
                "workers": WORKERS,
                "web workers": WEB_WORKERS,
                "reads/s": round(account.rate),
            },
            "notes": [note for part in parts for note in part.get("notes", [])],
        }


def _prepare(bench: Bench, count: int, busy_followers: int) -> None:
    followers, source = feeds.followers(count), random.Random(1)
    busy = (
        (follower, author)
        for author in feeds.BUSY
        for follower in source.sample(followers, min(busy_followers, count))
    )
    of_the_author = ((follower, feeds.AUTHOR) for follower in followers)
    load_edges(bench.stores, chain(of_the_author, busy), [feeds.QUIET])
    post_ids = feeds.old_posts(bench, feeds.AUTHOR, feeds.enough_posts(bench))
    feeds.fill(bench, followers, post_ids)
    feeds.fill_limit(bench, count, post_ids)


def _sample(accounts: range, count: int, seed: int) -> list[int]:
    return random.Random(seed).sample(accounts, min(count, len(accounts)))


def _measure_delivery(account: LargeAccount, options: Options) -> dict[str, Any]:
    """P4 and P5. A round: the server's limit, a post, reads, a post while readers read."""
    bench, rounds, reads = account.bench, list[dict[str, Any]](), 0
    delivering, reading = Counter[str](), Counter[str]()
    with workers(bench) as pool:
        delivery_meter = Meter(bench.processes(pool))
        read_meter = Meter({"web": account.web.pids, "server": [bench.server.pid]})
        feeds.deliver(bench, account.followers)  # a worker's first task loads code and scripts
        for _ in options.each_round("a post to all"):
            limit = bench.server.limit(account.followers, account.followers)
            delivery_meter.start()
            seconds = feeds.deliver(bench, account.followers)
            delivering.update(delivery_meter.spent())
            read_meter.start()
            idle = load.run(account.reading(max(_LEAST_SECONDS, seconds)))
            reading.update(read_meter.spent() | {"load generator": idle.processor_seconds})
            reads += len(idle.latencies)
            during = _latencies_during_delivery(account, seconds)
            rounds.append(
                {"limit": limit, "seconds": seconds, "idle": idle.latencies, "during": during}
            )
    return _delivery_result(account.followers, rounds) | {
        "processor": {
            "µs per delivery": per_unit(delivering, account.followers * options.rounds),
            "µs per read": per_unit(reading, reads),
        }
    }


def _latencies_during_delivery(account: LargeAccount, expected_seconds: float) -> list[float]:
    """Deliver a post while readers read; return the latencies of reads due in that time."""
    least = max(_LEAST_SECONDS, 2 * expected_seconds)
    reading = load.start(account.reading(_START_SECONDS + least))
    time.sleep(2 * _START_SECONDS)
    started = time.time()
    seconds = feeds.deliver(account.bench, account.followers)
    return load.collect(reading).between(started, started + seconds)


def _delivery_result(followers: int, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    p99s = {name: [_p99(row[name]) for row in rounds] for name in ("idle", "during")}
    series = {
        "limit, pushes/s": [row["limit"] for row in rounds],
        "upload to last follower, s": [row["seconds"] for row in rounds],
        "limit's time for as many, s": [followers / row["limit"] for row in rounds],
        "read p50 idle, ms": [1_000 * median(row["idle"]) for row in rounds],
        "read p99 idle, ms": [1_000 * value for value in p99s["idle"]],
        "read p99 during the fan-out, ms": [1_000 * value for value in p99s["during"]],
    }
    rows = {
        "P4": [row["seconds"] * row["limit"] / followers for row in rounds],
        "P5": [during / idle for during, idle in zip(p99s["during"], p99s["idle"], strict=True)],
    }
    return {"rows": rows, "series": series}


def _measure_uploads(account: LargeAccount, options: Options) -> dict[str, Any]:
    """P6. A round: 1,000 uploads of the large account and 1,000 of the quiet one, in turn.

    No worker runs: the answer to an upload does not wait for one.
    """
    messages = {
        "all": feeds.upload_request(feeds.AUTHOR),
        "none": feeds.upload_request(feeds.QUIET),
    }
    p99s: dict[str, list[float]] = {name: [] for name in messages}
    with Connection(account.port) as connection:
        for _ in options.each_round("uploads"):
            taken: dict[str, list[float]] = {name: [] for name in messages}
            for _ in range(options.scaled(_UPLOADS, 20)):
                for name, message in messages.items():
                    taken[name].append(_upload(connection, message))
            for name, latencies in taken.items():
                p99s[name].append(_p99(latencies))
            backlog.settle(account.bench)
    pairs = zip(p99s["all"], p99s["none"], strict=True)
    return {
        "rows": {"P6": [with_all / with_none for with_all, with_none in pairs]},
        "series": {
            f"upload p99 with {name} of the followers, ms": [1_000 * value for value in values]
            for name, values in p99s.items()
        },
    }


def _upload(connection: Connection, message: bytes) -> float:
    started = time.perf_counter()
    status, body = connection.ask(message)
    assert status == 201, body
    return time.perf_counter() - started


def _p99(latencies: list[float]) -> float:
    return percentile(sorted(latencies), 99) or 0.0
