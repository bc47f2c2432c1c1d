"""P4, P5, P6 and P16: an account with 1.5 million followers, every one of them with a full feed of 100."""

from __future__ import annotations

import random
from itertools import chain
from typing import TYPE_CHECKING, Any

from benchmarks import backlog, delivery, feeds, load, uploads
from benchmarks.crowd import Crowd
from benchmarks.http import request
from benchmarks.service import WEB_WORKERS, WORKERS, opened, token, web
from feedsvc.graph.load import load_edges

if TYPE_CHECKING:
    from benchmarks.options import Options
    from benchmarks.service import Bench

_FOLLOWERS = 1_500_000
_CAP = 100
# Of the same crowd, of each account that makes a backlog.
_BUSY_FOLLOWERS = 3_000
_READERS = 5_000
_PEAK_SECONDS = 3.0
_SHARE_OF_PEAK = 0.2


def measure(options: Options) -> dict[str, Any]:
    """Everything that takes a million feeds, on one filled server."""
    count = options.scaled(_FOLLOWERS, 100)
    with opened(feed_cap=_CAP) as bench:
        _prepare(bench, count, options.scaled(_BUSY_FOLLOWERS, 10))
        with web(bench) as (port, pool):
            reads = [
                request("GET", "/v1/feed?limit=20", token(reader)).decode()
                for reader in _readers(count)
            ]
            peak = [load.run(load.Plan(port, reads, _PEAK_SECONDS)).rate for _ in range(2)][
                -1
            ]  # the first warms
            crowd = Crowd(bench, port, pool, count, reads, _SHARE_OF_PEAK * peak)
            found = [
                delivery.measure(crowd, options),
                uploads.measure(crowd, options),
                backlog.measure(crowd, options),
            ]
        series = {"peak reads/s": [peak]} | dict(
            chain.from_iterable(each["series"].items() for each in found)
        )
        return {
            "rows": dict(chain.from_iterable(each["rows"].items() for each in found)),
            "series": series,
            "processor": found[0]["processor"],
            "server": bench.server.name,
            "settings": {
                "followers": count,
                "cap": _CAP,
                "workers": WORKERS,
                "web workers": WEB_WORKERS,
                "reads/s": round(crowd.rate),
            },
            "notes": [note for each in found for note in each.get("notes", [])],
        }


def _prepare(bench: Bench, count: int, of_each_busy: int) -> None:
    crowd = feeds.followers(count)
    source = random.Random(1)
    busy = (
        (follower, author)
        for author in feeds.BUSY
        for follower in source.sample(crowd, min(of_each_busy, count))
    )
    load_edges(
        bench.stores, chain(((follower, feeds.AUTHOR) for follower in crowd), busy), [feeds.QUIET]
    )
    post_ids = feeds.old_posts(bench, feeds.AUTHOR, feeds.enough_posts(bench))
    feeds.fill(bench, crowd, post_ids)
    feeds.fill_limit(bench, count, post_ids)


def _readers(count: int) -> list[int]:
    crowd = feeds.followers(count)
    return random.Random(2).sample(crowd, min(_READERS, count))
