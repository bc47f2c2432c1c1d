"""P16: an upload, and reads, behind 10,000 fan-outs, while the workers are busy with them."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from tqdm import tqdm

from benchmarks import feeds, load
from benchmarks.http import Connection, request
from benchmarks.service import token, until, workers
from feedsvc.store.redis.keys import CELEBRITIES, SMALL_FANOUTS, celebrity_posts
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from benchmarks.crowd import Crowd
    from benchmarks.options import Options
    from benchmarks.service import Bench

_FANOUTS = 10_000
_VIEWERS = 1_000
_CONNECTIONS = 8
_READ_SECONDS = 5.0


def measure(crowd: Crowd, options: Options) -> dict[str, Any]:
    """Rounds of: reads while nothing else happens; a backlog; an upload seen by a thousand followers; reads."""
    bench, count, rounds = crowd.bench, options.scaled(_FANOUTS, 100), []
    for _ in tqdm(range(options.rounds), desc="backlog", unit=" rounds", leave=False, disable=None):
        settle(bench)
        idle = median(load.run(crowd.reading(_READ_SECONDS)).latencies)
        for author in itertools.islice(itertools.cycle(feeds.BUSY), count):
            feeds.upload(bench, author)
        with workers(bench, idle=False):
            until(lambda: feeds.undone(bench) < count)
            seen = _seconds_until_seen(crowd, options.scaled(_VIEWERS, 50))
            behind = median(load.run(crowd.reading(_READ_SECONDS)).latencies)
            left = feeds.undone(bench)
        rounds.append(
            {
                "idle": idle,
                "behind": behind,
                "seen": max(seen),
                "late": sum(each > 0 for each in seen),
                "left": left,
            }
        )
    settle(bench)
    return _result(rounds)


def settle(bench: Bench) -> None:
    """Every fan-out is forgotten, as if done: the queues are empty, no list of a celebrity has anything on it. No worker may run."""
    queued = [
        key for key in bench.broker.client.scan_iter() if not key.startswith(b"_kombu.binding")
    ]
    if queued:
        bench.broker.client.delete(*queued)
    with bench.stores.sql.writing() as connection:
        connection.execute(sa.delete(Fanout))
        connection.execute(sa.update(Post).where(Post.pushed_at.is_(None)).values(pushed_at=now()))
    bench.stores.redis.delete(
        CELEBRITIES, SMALL_FANOUTS, *map(celebrity_posts, (feeds.AUTHOR, feeds.QUIET, *feeds.BUSY))
    )


def _seconds_until_seen(crowd: Crowd, count: int) -> list[float]:
    """For each of these followers: 0 if its first read after the upload shows the post, else when a read first did."""
    with Connection(crowd.port) as connection:
        status, body = connection.ask(feeds.upload_request(feeds.AUTHOR))
    uploaded = time.perf_counter()
    assert status == 201, body
    post_id = json.loads(body)["id"]
    viewers = random.sample(feeds.followers(crowd.followers), min(count, crowd.followers))
    seen: list[float] = []

    def work() -> None:
        with Connection(crowd.port) as connection:
            while viewers:
                seen.append(_seconds_until_shown(connection, viewers.pop(), post_id, uploaded))

    threads = [threading.Thread(target=work) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def _seconds_until_shown(
    connection: Connection, viewer: int, post_id: str, uploaded: float
) -> float:
    message = request("GET", "/v1/feed?limit=20", token(viewer))
    for attempt in itertools.count():
        _, body = connection.ask(message)
        if any(post["id"] == post_id for post in json.loads(body)["data"]):
            return time.perf_counter() - uploaded if attempt else 0.0
    raise AssertionError


def _result(rounds: list[dict[str, float]]) -> dict[str, Any]:
    series = {
        "read p50 with nothing else, ms": [1_000 * row["idle"] for row in rounds],
        "read p50 behind the backlog, ms": [1_000 * row["behind"] for row in rounds],
        "followers whose first read lacked the post": [row["late"] for row in rounds],
        "fan-outs left when the round ended": [row["left"] for row in rounds],
    }
    rows = {
        "P16 visible": [row["seen"] for row in rounds],
        "P16 read": [row["behind"] / row["idle"] for row in rounds],
    }
    notes = (
        []
        if all(row["left"] for row in rounds)
        else ["P16: the backlog was gone before the round ended, so its figures are too good."]
    )
    return {"rows": rows, "series": series, "notes": notes}
