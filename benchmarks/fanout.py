"""Fan-out to full feeds through a real Celery worker, everything charged, beside the limit of the server, in one interleaved run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from tqdm import tqdm

from feedsvc.embedded.valkey import die_with_parent
from feedsvc.fanout import progress, status
from feedsvc.graph.load import load_edges
from feedsvc.posts import publish
from feedsvc.services import open_services
from feedsvc.settings import load_settings
from feedsvc.store.redis import keys
from feedsvc.store.redis.lists import END
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database
from feedsvc.store.sql.tables import Fanout
from feedsvc.views import home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.server import Server
    from feedsvc.services import Services

_FIRST = 10**12
# The limit is taken on lists of its own, as many and as long: it does not trim, and its pushes are not for us to trim.
_LIMIT_PREFIX = "limit:"
_AUTHOR = 7
# As long as the ids of real posts, and lower than any.
_OLD_POST = 1 << 48
_ROOT = Path(__file__).parents[1]


def fan_out(server: Server, followers: int, rounds: int) -> dict[str, Any]:
    """Deliveries a second to `followers` full feeds, and the limit, `rounds` times in turn."""
    with opened(server) as services:
        load_edges(services.stores, ((_FIRST + number, _AUTHOR) for number in range(followers)))
        _fill(services, followers)
        rows = []
        with worker(services):
            _deliver(services, followers)  # the worker's first task loads code and scripts
            for _ in tqdm(range(rounds), desc="fan-out", unit=" rounds", leave=False, disable=None):
                limit = server.limit(_LIMIT_PREFIX, followers, _OLD_POST, 2 * followers)
                seconds = _deliver(services, followers)
                rows.append({"limit": limit, "deliveries_per_second": followers / seconds, "seconds": seconds})
        memory = services.stores.redis.info("memory")["used_memory"]
    for row in rows:
        row["ratio"] = row["deliveries_per_second"] / row["limit"]
    spread = {name: _spread([row[name] for row in rows]) for name in rows[0]}
    return {"followers": followers, "cap": 800, "rounds": rounds, "server": server.name, "memory_bytes": memory, **spread}


def higgs(server: Server, graph: Path) -> dict[str, Any]:
    """The largest account of a real graph posts; all of its followers' feeds are materialised."""
    from feedsvc.graph.importer import import_graph  # noqa: PLC0415

    with opened(server) as services:
        report = import_graph(services.stores, graph, skip_malformed=False)
        with services.stores.sql.reading() as connection:
            largest = sa.text("SELECT id FROM accounts ORDER BY follower_count DESC LIMIT 1")
            author = connection.scalar(largest)
            viewers = list(connection.scalars(sa.text("SELECT follower_id FROM follows WHERE followee_id = :author"), {"author": author}))
        for viewer in tqdm(viewers, desc="materialise", unit=" feeds", leave=False, disable=None):
            home.rebuild(services.stores, viewer)
        with worker(services):
            _deliver(services, len(viewers), author)
            seconds = [_deliver(services, len(viewers), author) for _ in range(5)]
            with services.stores.sql.reading() as connection:
                post = connection.scalar(sa.select(sa.func.max(Fanout.post_id)))
            done = _until(lambda: (found := status.status(services.stores, post)).state == "done" and found)
    return {
        "import_seconds": report.seconds,
        "followers": len(viewers),
        "links": done.batches,
        "delivered": done.delivered,
        "seconds_to_last_follower": _spread(seconds),
        "deliveries_per_second": _spread([len(viewers) / each for each in seconds]),
    }


@contextmanager
def opened(server: Server) -> Iterator[Services]:
    """Services on this server, with a new SQLite database."""
    server.client.flushall()
    with tempfile.TemporaryDirectory() as folder:
        named = {"data_dir": folder, "database_url": f"sqlite:///{folder}/f.db", "redis_url": server.url, "broker_url": server.broker_url}
        database = Database(named["database_url"])
        migrate.upgrade(database)
        database.close()
        services = open_services(load_settings({}, **named, promote_at=10**9, demote_at=10**9))
        yield services
        services.close()


@contextmanager
def worker(services: Services) -> Iterator[None]:
    """One Celery worker process."""
    settings = services.settings
    named = {name: str(getattr(settings, name)) for name in ("data_dir", "database_url", "redis_url", "broker_url")}
    environment = {**os.environ, **{f"FEEDSVC_{name.upper()}": value for name, value in named.items()}}
    command = [sys.executable, "-m", "feedsvc.supervise.work", "worker", "bench"]
    process = subprocess.Popen(
        command,
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,  # noqa: PLW1509
    )
    yield
    process.kill()
    process.wait()


def _fill(services: Services, followers: int) -> None:
    """Every feed is full, and as long as feeds are that have been trimmed often: between the cap and its own trim length."""
    limits = services.stores.limits
    ids = list(range(_OLD_POST, _OLD_POST - limits.feed_cap - limits.feed_slack, -1))
    pipe = services.stores.redis.pipeline(transaction=False)
    for number in tqdm(range(followers), desc="fill", unit=" feeds", leave=False, disable=None):
        length = limits.feed_cap + number * 7919 % (3 * limits.feed_slack // 4)
        for key in (keys.homefeed(_FIRST + number), f"{_LIMIT_PREFIX}{number:012d}"):
            pipe.rpush(key, *ids[-length:], "f0")
        if number % 1_000 == 999:
            pipe.execute()
    pipe.execute()


def _deliver(services: Services, followers: int, author: int = _AUTHOR) -> float:
    """Seconds from before the upload until the last follower has the post."""
    started = time.perf_counter()
    made = publish.publish(services.stores, services.enqueue, author, photo_url="https://img.example/1.jpg", description="")
    _until(lambda: progress.read(services.stores.redis, made.post_id).cursor == END)
    seconds = time.perf_counter() - started
    reached = progress.read(services.stores.redis, made.post_id)
    assert (reached.delivered, reached.skipped) == (followers, 0), reached
    return seconds


def _until(condition: Any) -> Any:
    while not (answer := condition()):
        time.sleep(0.005)
    return answer


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
