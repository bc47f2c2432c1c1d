"""P11: posts of accounts with 20 followers, beside Celery tasks that do nothing, on the same broker, in turn."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import redis
from tqdm import tqdm

from benchmarks import feeds, noop
from benchmarks.processor import Meter, per_unit
from benchmarks.service import WORKERS, opened, running, until, workers
from feedsvc.graph.load import load_edges

if TYPE_CHECKING:
    from benchmarks.options import Options
    from benchmarks.service import Bench, Pool

_POSTS = 3_000
_FOLLOWERS = 20
_AUTHORS = 300
_CROWD = 6_000


def measure(options: Options) -> dict[str, Any]:
    """As many posts as tasks, queued while the workers stand still; the clock runs from when they go on."""
    count = options.scaled(_POSTS, 50)
    with ExitStack() as stack:
        bench = stack.enter_context(opened())
        authors = _prepare(bench, options)
        names = [f"noop-{number}" for number in range(WORKERS)]
        idlers = stack.enter_context(running(bench, [["benchmarks.noop", name] for name in names]))
        pool = stack.enter_context(workers(bench))
        meter = Meter(
            {"workers": pool.pids, "server": [bench.server.pid], "broker": [bench.broker.pid]}
        )
        _no_operations(bench, idlers, count)  # the first task of a worker loads code
        _posts(bench, pool, authors[:WORKERS])
        rounds, spent = [], Counter[str]()
        for _ in tqdm(
            range(options.rounds), desc="small", unit=" rounds", leave=False, disable=None
        ):
            seconds = _no_operations(bench, idlers, count)
            own = _posts(
                bench, pool, list(itertools.islice(itertools.cycle(authors), count)), meter
            )
            spent.update(meter.spent())
            rounds.append(
                {"no-op tasks/s": count / seconds, "posts to 20 followers/s": count / own}
            )
    return {
        "rows": {"P11": [row["posts to 20 followers/s"] / row["no-op tasks/s"] for row in rounds]},
        "series": {name: [row[name] for row in rounds] for name in rounds[0]},
        "processor": {"µs per post": per_unit(spent, count * options.rounds)},
        "server": bench.server.name,
        "settings": {
            "posts": count,
            "followers": _FOLLOWERS,
            "authors": len(authors),
            "cap": bench.stores.limits.feed_cap,
            "workers": WORKERS,
        },
    }


def _prepare(bench: Bench, options: Options) -> list[int]:
    crowd = feeds.followers(options.scaled(_CROWD, 100))
    authors = list(range(1_000, 1_000 + options.scaled(_AUTHORS, 10)))
    source = random.Random(1)
    edges = [
        (follower, author) for author in authors for follower in source.sample(crowd, _FOLLOWERS)
    ]
    everybody = [(follower, feeds.AUTHOR) for follower in crowd]
    load_edges(bench.stores, [*edges, *everybody])
    feeds.fill(bench, crowd, feeds.old_posts(bench, feeds.AUTHOR, feeds.enough_posts(bench)))
    return authors


def _posts(bench: Bench, pool: Pool, authors: list[int], meter: Meter | None = None) -> float:
    """Seconds until every feed has the post of each of these authors, uploads not counted."""
    pool.pause()
    for author in authors:
        feeds.upload(bench, author)
    if meter is not None:
        meter.start()
    started = time.perf_counter()
    pool.resume()
    until(lambda: feeds.undone(bench) == 0)
    return time.perf_counter() - started


def _no_operations(bench: Bench, idlers: Pool, count: int) -> float:
    """Seconds until so many tasks have run."""
    app = noop.make_celery(bench.broker.broker_url)
    queue = redis.Redis(unix_socket_path=str(bench.broker.socket), db=1)
    idlers.pause()
    with app.producer_or_acquire() as producer:
        for number in range(count):
            app.send_task(noop.TASK, (number,), producer=producer)
    started = time.perf_counter()
    idlers.resume()
    until(lambda: not queue.llen(app.conf.task_default_queue) and not queue.hlen("unacked"))
    return time.perf_counter() - started
