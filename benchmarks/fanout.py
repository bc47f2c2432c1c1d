"""P1 to P3: fan-out to full feeds through Celery, compared with the server's limit and with peers.

The service pays for everything: upload, SQL, Celery, the sweep, progress and trims.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks import feeds, peers
from benchmarks.processor import Meter, per_unit
from benchmarks.service import opened, workers
from feedsvc.graph.load import load_edges

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.results import Options
    from benchmarks.service import Bench

_FOLLOWERS = 100_000
# One more than there are processors: while two workers wait for the queue or SQL, the third pushes.
_WORKERS = 3
# The peers' rates do not depend on the number of followers, and a sorted set of 800 entries takes
# 100 kB.
_PEER_FOLLOWERS = 20_000


def measure(options: Options, *, with_peers: bool = True) -> dict[str, Any]:
    """Measure deliveries per second to full feeds: of the service, of the server, of the peers."""
    count, peer_count = options.scaled(_FOLLOWERS), options.scaled(_PEER_FOLLOWERS, 10)
    with ExitStack() as stack:
        bench = stack.enter_context(opened())
        post_ids = _prepare(bench, count)
        others: dict[str, Callable[[], float]] = {}
        if with_peers:
            peers.make_environment()
            peers.fill_tutorials(bench, peer_count, post_ids)
            contexts = {
                "tutorial": peers.tutorials(bench, peer_count, "tutorial"),
                "tutorial, unix socket and hiredis": peers.tutorials(bench, peer_count, "tuned"),
                "stream-framework": peers.stream_frameworks(bench, peer_count, 1),
                "stream-framework, two processes": peers.stream_frameworks(bench, peer_count, 2),
            }
            others = {name: stack.enter_context(each) for name, each in contexts.items()}
        pool = stack.enter_context(workers(bench, _WORKERS))
        meter = Meter(bench.processes(pool))
        feeds.deliver(bench, count)  # a worker's first task loads code and scripts
        rounds, spent = [], Counter[str]()
        for _ in options.each_round("fan-out"):
            row = {"limit": bench.server.limit(count, 2 * count)}
            meter.start()
            row["ours"] = count / feeds.deliver(bench, count)
            spent.update(meter.spent())
            row |= {name: peer_count / deliver() for name, deliver in others.items()}
            rounds.append(row)
    return _result(bench, rounds, per_unit(spent, count * options.rounds)) | {
        "settings": _settings(bench, count, peer_count)
    }


def _prepare(bench: Bench, count: int) -> list[int]:
    """Store an account's followers, their full feeds, and lists for the limit; return the posts."""
    load_edges(bench.stores, ((follower, feeds.AUTHOR) for follower in feeds.followers(count)))
    post_ids = feeds.old_posts(bench, feeds.AUTHOR, feeds.enough_posts(bench))
    feeds.fill(bench, feeds.followers(count), post_ids)
    feeds.fill_limit(bench, count, post_ids)
    return post_ids


def _result(
    bench: Bench, rounds: list[dict[str, float]], processor: dict[str, float]
) -> dict[str, Any]:
    series = {f"{name}, deliveries/s": [row[name] for row in rounds] for name in rounds[0]}
    against = {
        "P1": "limit",
        "P2": "tutorial",
        "P2 tuned": "tutorial, unix socket and hiredis",
        "P3": "stream-framework",
        "P3 doubled": "stream-framework, two processes",
    }
    rows = {
        name: [row["ours"] / row[other] for row in rounds]
        for name, other in against.items()
        if other in rounds[0]
    }
    return {
        "rows": rows,
        "series": series,
        "processor": {"µs per delivery": processor},
        "server": bench.server.name,
    }


def _settings(bench: Bench, count: int, peer_count: int) -> dict[str, Any]:
    limits = bench.stores.limits
    return {
        "followers": count,
        "followers of the peers": peer_count,
        "cap": limits.feed_cap,
        "slack": limits.feed_slack,
        "batch": limits.fanout_batch,
        "workers": _WORKERS,
        "broker": "Redis, a server of its own",
        "database": bench.stores.sql.engine.dialect.name,
    }
