"""What a first page costs, as ratios within one run.

P7: a first page beside a constant answer of the same application. P8: a first page of who follows 500 celebrities beside one of who
follows none. Both are real HTTP through the web server, with every feed and every celebrity list full.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from tqdm import tqdm

from benchmarks.http import request
from benchmarks.http_load import drive
from benchmarks.service import opened, token, web
from feedsvc.graph.load import load_edges
from feedsvc.post_ids import lowest_of
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.http_load import Driven
    from benchmarks.options import Options
    from feedsvc.store import Stores

# So many viewers that what one read leaves in a cache is of little use to the next.
_PLAIN = range(1_000, 1_050)
_FANS = range(2_000, 2_050)
_ORDINARY = range(3_000, 3_040)
_CELEBRITIES = range(10_000, 10_500)
_PAGE = 20
_CONNECTIONS = 8
_DESCRIPTION = "A photo of something, with a few words about it, as people write them. " * 2
_YEAR_MS = 365 * 86_400_000


def measure(options: Options) -> dict[str, Any]:
    """P7 and P8."""
    found = {"P7": p7(options.rounds), "P8": p8(options.rounds)}
    return kept(
        {name: each["ratio"]["rounds"] for name, each in found.items()},
        found,
        {"cap": 800, "page": _PAGE, "web workers": "2 (P7), 1 (P8)"},
    )


def p7(rounds: int = 7, seconds: float = 2.0) -> dict[str, Any]:
    """Authenticated first pages of 20 a second ÷ constant answers of equal size, two web processes, eight connections."""
    with opened() as bench:
        graph(bench.stores)
        pages = requests(_PLAIN)
        with web(bench, 2, "benchmarks.constant") as (port, _):
            size = len(warmed(port, pages).body)
            constants = [request("GET", f"/constant/{size}", "none")]
            warmed(port, constants)
            ask = [_rate(port, each, seconds) for each in (pages, constants)]
            taken = in_turn(rounds, "P7", *ask)
    return {**compared("pages_per_second", "constants_per_second", *taken), "bytes": size}


def p8(rounds: int = 7, count: int = 500) -> dict[str, Any]:
    """The median first page of followers of 500 celebrities ÷ that of followers of none; one web process, one connection."""
    with opened() as bench:
        graph(bench.stores, _CELEBRITIES)
        fans, plain = requests(_FANS), requests(_PLAIN)
        with web(bench, 1) as (port, _):
            for each in (fans, plain):
                warmed(port, each)
            ask = [median_us(port, each, count) for each in (fans, plain)]
            return compared("following_500_us", "following_none_us", *in_turn(rounds, "P8", *ask))


def graph(stores: Stores, celebrities: range = range(0)) -> None:
    """Viewers who follow forty talkative accounts, fans who follow these celebrities besides."""
    edges = [(viewer, author) for viewer in (*_PLAIN, *_FANS) for author in _ORDINARY]
    load_edges(stores, [*edges, *((fan, celebrity) for fan in _FANS for celebrity in celebrities)])
    full = stores.limits.feed_cap + 1
    add_posts(stores, _ORDINARY, 2 * full // len(_ORDINARY), route="push")
    add_posts(stores, celebrities, full, route="pull")


def add_posts(stores: Stores, authors: range, each: int, *, route: str) -> None:
    """So many posts of each author, in random turn, evenly over a year until an hour ago; those that are pushed are in every feed."""
    turns = random.Random(1).sample(
        [author for author in authors for _ in range(each)], each * len(authors)
    )
    top_ms = int(time.time() - 3_600) * 1_000
    common = {
        "photo_url": "https://img.example/1.jpg",
        "description": _DESCRIPTION,
        "policy_version": 1,
        "route": route,
    }
    rows = [
        {
            "id": lowest_of(top_ms - _YEAR_MS * number // len(turns)) + (route == "push"),
            "author_id": author,
            "pushed_at": now() if route == "push" else None,
            **common,
        }
        for number, author in enumerate(turns)
    ]
    with stores.sql.writing() as connection:
        for first in range(0, len(rows), 10_000):
            connection.execute(sa.insert(Post), rows[first : first + 10_000])


def requests(viewers: range) -> list[bytes]:
    """First pages of these viewers, as they are sent."""
    return [request("GET", f"/v1/feed?limit={_PAGE}", token(viewer)) for viewer in viewers]


def in_turn(rounds: int, name: str, *measures: Callable[[], float]) -> list[list[float]]:
    """The values of each of these measures, taken A B A B."""
    taken: list[list[float]] = [[] for _ in measures]
    for _ in tqdm(range(rounds), desc=name, unit=" rounds", leave=False, disable=None):
        for values, measure in zip(taken, measures, strict=True):
            values.append(measure())
    return taken


def compared(
    one: str, other: str, ones: Sequence[float], others: Sequence[float]
) -> dict[str, Any]:
    """What is reported of two measures: each, and the ratio of the two within a round."""
    ratios = [a / b for a, b in zip(ones, others, strict=True)]
    return {one: spread(ones), other: spread(others), "ratio": spread(ratios)}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Their median and range, and each of them."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": list(values),
    }


def kept(
    rows: dict[str, Sequence[float]],
    figures: dict[str, dict[str, Any]],
    bench_settings: dict[str, Any],
) -> dict[str, Any]:
    """Figures as the runner keeps them: a row for each criterion, and every measure as a series."""
    named = {
        f"{name}, {what}": each
        for name, found in figures.items()
        for what, each in found.items()
        if isinstance(each, dict)
    }
    return {
        "rows": rows,
        "series": {name: each["rounds"] for name, each in named.items()},
        "settings": bench_settings,
    }


def warmed(port: int, messages: list[bytes]) -> Driven:
    """Every process has seen each of them, most likely: feeds are built, bodies cached, lists copied."""
    return drive(port, messages, connections=_CONNECTIONS, count=8 * len(messages))


def _rate(port: int, messages: list[bytes], seconds: float) -> Callable[[], float]:
    return lambda: drive(port, messages, connections=_CONNECTIONS, seconds=seconds).per_second


def median_us(port: int, messages: list[bytes], count: int) -> Callable[[], float]:
    return lambda: (
        statistics.median(drive(port, messages, connections=1, count=count).latencies) * 1e6
    )
