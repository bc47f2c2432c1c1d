"""P10: the memory of one entry of a full feed, fresh and after ten turnovers of every feed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from benchmarks import feeds
from benchmarks.service import opened, until, workers
from feedsvc.graph.load import load_edges

if TYPE_CHECKING:
    from benchmarks.results import Options
    from benchmarks.service import Bench

_FEEDS = 10_000
_TURNOVERS = 10
# Posts uploaded together, so that the queue is never empty and never long.
_TOGETHER = 200
_OTHER_KEYS = ("fanout:*", "post:*", "celebrity-posts:*")


def measure(options: Options) -> dict[str, Any]:
    """Measure allocated and resident memory per entry.

    Two servers: the measured server, and the server of the wheel, which has no jemalloc.
    """
    count = options.scaled(_FEEDS, 100)
    servers = {
        name: _turned_over(count, options, embedded=embedded)
        for name, embedded in (("measured", False), ("embedded", True))
    }
    series = {
        f"{name}, {figure}": [value]
        for name, each in servers.items()
        for figure, value in each["bytes"].items()
    }
    measured = servers["measured"]["bytes"]
    return {
        "rows": {
            "P10 fresh": [measured["allocated B/entry, fresh"]],
            "P10 turned over": [measured["allocated B/entry, turned over"]],
            "P10 resident": [measured["resident B/entry, turned over"]],
        },
        "series": series,
        "server": servers["measured"]["server"],
        "settings": {
            "feeds": count,
            "cap": 800,
            "turnovers": _TURNOVERS,
            "embedded": servers["embedded"]["server"],
        },
        "notes": [
            "P10: memory of the server, less the amount before the feeds were filled; one round."
        ],
    }


def _turned_over(count: int, options: Options, *, embedded: bool) -> dict[str, Any]:
    with opened(embedded=embedded) as bench:
        load_edges(bench.stores, ((follower, feeds.AUTHOR) for follower in feeds.followers(count)))
        with workers(bench):
            feeds.deliver(bench)  # scripts, buffers, connections
            post_ids = feeds.old_posts(bench, feeds.AUTHOR, feeds.enough_posts(bench))
            empty = _memory(bench)
            feeds.fill(bench, feeds.followers(count), post_ids)
            fresh = _per_entry(bench, empty, count)
            for _ in tqdm(
                range(options.scaled(_TURNOVERS * 800, 400) // _TOGETHER),
                desc="turn over",
                leave=False,
                disable=None,
            ):
                for _ in range(_TOGETHER):
                    feeds.upload(bench)
                until(lambda: feeds.unfinished(bench) == 0)
            turned = _per_entry(bench, empty, count)
    named = {
        f"{kind} B/entry, {when}": value
        for when, each in (("fresh", fresh), ("turned over", turned))
        for kind, value in each.items()
    }
    return {"bytes": named, "server": bench.server.name}


def _per_entry(bench: Bench, empty: dict[str, int], count: int) -> dict[str, float]:
    pipe = bench.stores.redis.pipeline(transaction=False)
    for follower in feeds.followers(count):
        pipe.llen(bench.stores.keys.homefeed(follower))
    entries = sum(pipe.execute())
    return {name: (value - empty[name]) / entries for name, value in _memory(bench).items()}


def _memory(bench: Bench) -> dict[str, int]:
    """Return the server's memory, after deleting the keys that fan-outs leave for a while."""
    client = bench.server.client
    for pattern in _OTHER_KEYS:
        for key in client.scan_iter(pattern, 1_000):
            client.unlink(key)
    client.memory_purge()
    info = client.info("memory")
    return {"resident": info["used_memory_rss"], "allocated": info["used_memory"]}
