"""P13: the cost of a delivery and of a read on 10,000, 100,000 and a million accounts.

The growth of each cost is compared with the growth of the server's own limit.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from tqdm import tqdm

from benchmarks import feeds
from benchmarks.service import WORKERS, opened, until, workers
from feedsvc.feed import reader
from feedsvc.graph import generate
from feedsvc.graph.load import load_edges
from feedsvc.store.sql.tables import Account

if TYPE_CHECKING:
    from benchmarks.results import Options
    from benchmarks.service import Bench, Pool

_SIZES = (10_000, 100_000, 1_000_000)
_CAP = 100
# The posters have 2 to 7 % of the smallest network as followers on every network, so that only the
# number of accounts differs. The largest of 10,000 accounts has 700 followers.
_POSTERS = 100
_FOLLOWERS = (0.02, 0.07)
_READS = 10_000
_LIMIT_PUSHES = 1_000_000
_SEED = 1


@dataclass(frozen=True)
class FilledService:
    """A service with full feeds; `followers`: the sum over the posters."""

    bench: Bench
    accounts: int
    posters: list[int]
    followers: int
    viewers: list[int]


def measure(options: Options) -> dict[str, Any]:
    """Measure all sizes in turn: limits, posts of a hundred accounts, ten thousand reads."""
    sizes = [options.scaled(size, 300 * (number + 1)) for number, size in enumerate(_SIZES)]
    with ExitStack() as stack:
        services = [_filled(stack, size, sizes[0], options) for size in sizes]
        pools = [stack.enter_context(workers(service.bench)) for service in services]
        for each in zip(services, pools, strict=True):
            _costs(*each, options)  # warms caches and connections
        rounds = [
            [_costs(*each, options) for each in zip(services, pools, strict=True)]
            for _ in options.each_round("scale")
        ]
        server = services[0].bench.server.name
    return _result(sizes, rounds) | {
        "graph": f"generated, seed {_SEED}",
        "server": server,
        "settings": {
            "accounts": sizes,
            "cap": _CAP,
            "posts": [len(service.posters) for service in services],
            "workers": WORKERS,
        },
    }


def _filled(stack: ExitStack, accounts: int, smallest: int, options: Options) -> FilledService:
    bench = stack.enter_context(opened(feed_cap=_CAP))
    with tqdm(
        total=accounts, desc=f"generate {accounts:,}", unit=" accounts", leave=False, disable=None
    ) as bar:
        generate.load(bench.stores, accounts, _SEED, lambda done: bar.update(done - bar.n))
    followers = range(1, accounts + 1)
    author = accounts + 1  # its posts fill the feeds
    load_edges(bench.stores, ((follower, author) for follower in followers))
    post_ids = feeds.old_posts(bench, author, feeds.enough_posts(bench))
    feeds.fill(bench, followers, post_ids)
    feeds.fill_limit(bench, accounts, post_ids)
    between = Account.follower_count.between(*(int(share * smallest) for share in _FOLLOWERS))
    with bench.stores.sql.reading() as connection:
        rows = connection.execute(
            sa.select(Account.id, Account.follower_count).where(between).limit(_POSTERS)
        ).all()
    viewers = random.Random(_SEED).sample(followers, min(accounts, options.scaled(_READS, 100)))
    return FilledService(
        bench, accounts, [row.id for row in rows], sum(row.follower_count for row in rows), viewers
    )


def _costs(service: FilledService, pool: Pool, options: Options) -> dict[str, float]:
    """Return seconds per push and per list at the limit, per delivery, and per page of 20."""
    server, pushes = service.bench.server, options.scaled(_LIMIT_PUSHES, 1_000)
    limits = {
        "push": 1 / server.limit(service.accounts, pushes),
        "list": 1 / server.reading_limit(service.accounts, pushes // 10, _CAP),
    }
    return {
        **limits,
        "delivery": _seconds_to_deliver(service, pool) / service.followers,
        "read": _seconds_to_read(service) / len(service.viewers),
    }


def _seconds_to_deliver(service: FilledService, pool: Pool) -> float:
    """Return the seconds of all deliveries; the workers are paused during the uploads."""
    pool.pause()
    for poster in service.posters:
        feeds.upload(service.bench, poster)
    started = time.perf_counter()
    pool.resume()
    until(lambda: feeds.unfinished(service.bench) == 0)
    return time.perf_counter() - started


def _seconds_to_read(service: FilledService) -> float:
    started = time.perf_counter()
    for viewer in service.viewers:
        reader.home_page(service.bench.stores, viewer, None, 20)
    return time.perf_counter() - started


def _result(sizes: list[int], rounds: list[list[dict[str, float]]]) -> dict[str, Any]:
    def growth(cost: str) -> list[float]:
        return [row[-1][cost] / row[0][cost] for row in rounds]

    def relative_growth(cost: str, limit: str) -> list[float]:
        return [own / server for own, server in zip(growth(cost), growth(limit), strict=True)]

    names = {
        "push": "limit, µs per push",
        "list": "limit, µs per list",
        "delivery": "µs per delivery",
        "read": "µs per read",
    }
    series = {
        f"{title}, {size:,} accounts": [row[number][cost] * 1e6 for row in rounds]
        for cost, title in names.items()
        for number, size in enumerate(sizes)
    }
    lines = {
        title: [series[f"{title}, {size:,} accounts"] for size in sizes] for title in names.values()
    }
    return {
        "rows": {
            "P13 deliveries": relative_growth("delivery", "push"),
            "P13 reads": relative_growth("read", "list"),
        },
        "series": series,
        "curves": [{"x": sizes, "x label": "accounts", "y label": "µs", "lines": lines}],
    }
