"""P11: posts per second of accounts with 20 followers, compared with Celery tasks that do nothing.

Both use the same broker, in turn.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import redis

from benchmarks import baseline_tasks, feeds
from benchmarks.processor import Meter, per_unit
from benchmarks.service import WORKERS, opened, running, until, workers
from feedsvc.graph.load import load_edges

if TYPE_CHECKING:
    from benchmarks.results import Options
    from benchmarks.service import Bench, Pool

_POSTS = 3_000
_FOLLOWERS = 20
_AUTHORS = 300
# The followers are drawn from these.
_VIEWERS = 6_000


def measure(options: Options) -> dict[str, Any]:
    """Measure posts and no-op tasks, equally many, queued while the workers are paused.

    The time ends with the last post or task.
    """
    count = options.scaled(_POSTS, 50)
    with ExitStack() as stack:
        bench = stack.enter_context(opened())
        authors = _prepare(bench, options)
        names = [f"noop-{number}" for number in range(WORKERS)]
        commands = [["benchmarks.baseline_tasks", name, "noop"] for name in names]
        noop_workers = stack.enter_context(running(bench, commands))
        pool = stack.enter_context(workers(bench))
        meter = Meter(bench.processes(pool))
        # A worker's first task loads code.
        _seconds_for_noops(bench, noop_workers, count)
        _posts_per_second(bench, pool, authors[:WORKERS])
        posters = list(itertools.islice(itertools.cycle(authors), count))
        rounds, spent = [], Counter[str]()
        for _ in options.each_round("small"):
            noops = count / _seconds_for_noops(bench, noop_workers, count)
            posts = _posts_per_second(bench, pool, posters, meter)
            spent.update(meter.spent())
            rounds.append({"no-op tasks/s": noops, "posts to 20 followers/s": posts})
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
    viewers = feeds.followers(options.scaled(_VIEWERS, 100))
    authors = list(range(1_000, 1_000 + options.scaled(_AUTHORS, 10)))
    source = random.Random(1)
    edges = [
        (follower, author) for author in authors for follower in source.sample(viewers, _FOLLOWERS)
    ]
    of_the_old_posts = [(viewer, feeds.AUTHOR) for viewer in viewers]
    load_edges(bench.stores, [*edges, *of_the_old_posts])
    feeds.fill(bench, viewers, feeds.old_posts(bench, feeds.AUTHOR, feeds.enough_posts(bench)))
    return authors


def _posts_per_second(
    bench: Bench, pool: Pool, authors: list[int], meter: Meter | None = None
) -> float:
    """Return the posts delivered per second, one post of each author, without the uploads.

    The time runs from the end of the first micro-batch. Before that the worker waits for
    `GATHER_SECONDS`, which is no work and does not grow with the number of posts.
    """
    pool.pause()
    for author in authors:
        feeds.upload(bench, author)
    if meter is not None:
        meter.start()
    pool.resume()
    until(lambda: feeds.unfinished(bench) < len(authors))
    started = time.perf_counter()
    waiting = feeds.unfinished(bench)
    until(lambda: feeds.unfinished(bench) == 0)
    return waiting / (time.perf_counter() - started)


def _seconds_for_noops(bench: Bench, noop_workers: Pool, count: int) -> float:
    """Return the seconds to run `count` tasks that do nothing."""
    app = baseline_tasks.make_celery(bench.broker.broker_url, "noop")
    database = baseline_tasks.BROKER_DATABASES["noop"]
    queue = redis.Redis(unix_socket_path=str(bench.broker.socket), db=database)
    noop_workers.pause()
    with app.producer_or_acquire() as producer:
        for number in range(count):
            app.send_task(baseline_tasks.NOOP, (number,), producer=producer)
    started = time.perf_counter()
    noop_workers.resume()
    until(lambda: not queue.llen(app.conf.task_default_queue) and not queue.hlen("unacked"))
    return time.perf_counter() - started
