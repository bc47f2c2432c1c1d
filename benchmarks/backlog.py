"""P16: an upload, and reads, while the workers are busy with 10,000 earlier fan-outs."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from benchmarks import feeds, load
from benchmarks.http import Connection, request
from benchmarks.service import token, until, workers
from feedsvc.store.redis.keys import CELEBRITIES, SMALL_FANOUTS, celebrity_posts
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from benchmarks.feeds import LargeAccount
    from benchmarks.results import Options
    from benchmarks.service import Bench

_FANOUTS = 10_000
_VIEWERS = 1_000
_CONNECTIONS = 8
_READ_SECONDS = 5.0


def measure(account: LargeAccount, options: Options) -> dict[str, Any]:
    """Measure P16.

    A round: reads on an idle service; a backlog; an upload and the first reads of a thousand
    followers after it; reads behind the backlog.
    """
    bench, count, rounds = account.bench, options.scaled(_FANOUTS, 100), []
    for _ in options.each_round("backlog"):
        settle(bench)
        idle = median(load.run(account.reading(_READ_SECONDS)).latencies)
        for author in itertools.islice(itertools.cycle(feeds.BUSY), count):
            feeds.upload(bench, author)
        with workers(bench, idle=False):
            until(lambda: feeds.unfinished(bench) < count)
            delays = _visibility_delays(account, options.scaled(_VIEWERS, 50))
            behind = median(load.run(account.reading(_READ_SECONDS)).latencies)
            left = feeds.unfinished(bench)
        late = sum(delay > 0 for delay in delays)
        rounds.append(
            {"idle": idle, "behind": behind, "seen": max(delays), "late": late, "left": left}
        )
    settle(bench)
    return _result(rounds)


def settle(bench: Bench) -> None:
    """Drop every fan-out as if it were done: empty the queues and all celebrity lists.

    No worker may run meanwhile.
    """
    queued = [
        key for key in bench.broker.client.scan_iter() if not key.startswith(b"_kombu.binding")
    ]
    if queued:
        bench.broker.client.delete(*queued)
    with bench.stores.sql.writing() as connection:
        connection.execute(sa.delete(Fanout))
        connection.execute(sa.update(Post).where(Post.pushed_at.is_(None)).values(pushed_at=now()))
    authors = (feeds.AUTHOR, feeds.QUIET, *feeds.BUSY)
    bench.stores.redis.delete(CELEBRITIES, SMALL_FANOUTS, *map(celebrity_posts, authors))


def _visibility_delays(account: LargeAccount, count: int) -> list[float]:
    """Upload a post; return the delay of each follower, in seconds from the upload's answer.

    The delay is 0 if the follower's first read shows the post.
    """
    with Connection(account.port) as connection:
        status, body = connection.ask(feeds.upload_request(feeds.AUTHOR))
    uploaded = time.perf_counter()
    assert status == 201, body
    post_id = json.loads(body)["id"]
    viewers = random.sample(feeds.followers(account.followers), min(count, account.followers))
    delays: list[float] = []

    def work() -> None:
        with Connection(account.port) as connection:
            while viewers:
                delays.append(_visibility_delay(connection, viewers.pop(), post_id, uploaded))

    threads = [threading.Thread(target=work) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return delays


def _visibility_delay(connection: Connection, viewer: int, post_id: str, uploaded: float) -> float:
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
    too_short = not all(row["left"] for row in rounds)
    note = "P16: the backlog was gone before the round ended, so its figures are too good."
    return {"rows": rows, "series": series, "notes": [note] if too_short else []}
