"""P13: what a delivery and a read cost on 10,000, 100,000 and a million accounts, beside how the server's own limit changes."""

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
    from benchmarks.options import Options
    from benchmarks.service import Bench, Pool

_SIZES = (10_000, 100_000, 1_000_000)
_CAP = 100
# Posts of accounts of one size, so that only the number of accounts differs. The largest of 10,000 has 700 followers.
_POSTERS = 100
_FOLLOWERS = (0.02, 0.07)
_READS = 10_000
_LIMIT_PUSHES = 1_000_000
_SEED = 1


@dataclass(frozen=True)
class Network:
    """A filled service of so many accounts."""

    bench: Bench
    accounts: int
    posters: list[int]
    followers: int
    viewers: list[int]


def measure(options: Options) -> dict[str, Any]:
    """Rounds over all sizes in turn: limits, posts of a hundred accounts, ten thousand reads."""
    sizes = [options.scaled(size, 300 * (number + 1)) for number, size in enumerate(_SIZES)]
    with ExitStack() as stack:
        networks = [_network(stack, size, sizes[0], options) for size in sizes]
        pools = [stack.enter_context(workers(network.bench)) for network in networks]
        for each in zip(networks, pools, strict=True):
            _costs(*each, options)  # warm
        rounds = [
            [_costs(*each, options) for each in zip(networks, pools, strict=True)]
            for _ in tqdm(
                range(options.rounds), desc="scale", unit=" rounds", leave=False, disable=None
            )
        ]
        server = networks[0].bench.server.name
    return _result(sizes, rounds) | {
        "graph": f"generated, seed {_SEED}",
        "server": server,
        "settings": {
            "accounts": sizes,
            "cap": _CAP,
            "posts": [len(network.posters) for network in networks],
            "workers": WORKERS,
        },
    }


def _network(stack: ExitStack, accounts: int, smallest: int, options: Options) -> Network:
    bench = stack.enter_context(opened(feed_cap=_CAP))
    with tqdm(
        total=accounts, desc=f"generate {accounts:,}", unit=" accounts", leave=False, disable=None
    ) as bar:
        generate.load(bench.stores, accounts, _SEED, lambda done: bar.update(done - bar.n))
    everybody, author = range(1, accounts + 1), accounts + 1  # whose posts fill the feeds
    load_edges(bench.stores, ((follower, author) for follower in everybody))
    post_ids = feeds.old_posts(bench, author, feeds.enough_posts(bench))
    feeds.fill(bench, everybody, post_ids)
    feeds.fill_limit(bench, accounts, post_ids)
    between = Account.follower_count.between(*(int(share * smallest) for share in _FOLLOWERS))
    with bench.stores.sql.reading() as connection:
        rows = connection.execute(
            sa.select(Account.id, Account.follower_count).where(between).limit(_POSTERS)
        ).all()
    viewers = random.Random(_SEED).sample(everybody, min(accounts, options.scaled(_READS, 100)))
    return Network(
        bench, accounts, [row.id for row in rows], sum(row.follower_count for row in rows), viewers
    )


def _costs(network: Network, pool: Pool, options: Options) -> dict[str, float]:
    """Seconds per push and per list at the limit, per delivery, and per page of 20."""
    server, pushes = network.bench.server, options.scaled(_LIMIT_PUSHES, 1_000)
    limits = {
        "push": 1 / server.limit(network.accounts, pushes),
        "list": 1 / server.reading_limit(network.accounts, pushes // 10, _CAP),
    }
    return {
        **limits,
        "delivery": _seconds_to_deliver(network, pool) / network.followers,
        "read": _seconds_to_read(network) / len(network.viewers),
    }


def _seconds_to_deliver(network: Network, pool: Pool) -> float:
    """From when the workers, which stood still during the uploads, go on."""
    pool.pause()
    for poster in network.posters:
        feeds.upload(network.bench, poster)
    started = time.perf_counter()
    pool.resume()
    until(lambda: feeds.undone(network.bench) == 0)
    return time.perf_counter() - started


def _seconds_to_read(network: Network) -> float:
    started = time.perf_counter()
    for viewer in network.viewers:
        reader.home_page(network.bench.stores, viewer, None, 20)
    return time.perf_counter() - started


def _result(sizes: list[int], rounds: list[list[dict[str, float]]]) -> dict[str, Any]:
    def growth(what: str) -> list[float]:
        return [row[-1][what] / row[0][what] for row in rounds]

    def against(what: str, limit: str) -> list[float]:
        return [mine / its for mine, its in zip(growth(what), growth(limit), strict=True)]

    names = {
        "push": "limit, µs per push",
        "list": "limit, µs per list",
        "delivery": "µs per delivery",
        "read": "µs per read",
    }
    series = {
        f"{title}, {size:,} accounts": [row[number][what] * 1e6 for row in rounds]
        for what, title in names.items()
        for number, size in enumerate(sizes)
    }
    lines = {
        title: [series[f"{title}, {size:,} accounts"] for size in sizes] for title in names.values()
    }
    return {
        "rows": {
            "P13 deliveries": against("delivery", "push"),
            "P13 reads": against("read", "list"),
        },
        "series": series,
        "curves": [{"x": sizes, "x label": "accounts", "y label": "µs", "lines": lines}],
    }
