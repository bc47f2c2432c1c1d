"""P7 and P8: the cost of a first page, as ratios within one run.

P7 compares first pages with constant answers of the same application. P8 compares followers of 500
celebrities with followers of none. Both use HTTP through the web server; every feed and every
celebrity list is full.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from benchmarks.http import drive, request
from benchmarks.service import opened, token, web
from feedsvc.graph.load import load_edges
from feedsvc.post_ids import lowest_of
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.http import Loop
    from benchmarks.results import Options
    from feedsvc.store import Stores

# Enough viewers that one read's traces in the processor's caches hardly help the next read.
_PLAIN = range(1_000, 1_050)
_FANS = range(2_000, 2_050)
_ORDINARY = range(3_000, 3_040)
_CELEBRITIES = range(10_000, 10_500)
_PAGE = 20
_CONNECTIONS = 8
_DESCRIPTION = "A photo of something, with a few words about it, as people write them. " * 2
_YEAR_MS = 365 * 86_400_000


def measure(options: Options) -> dict[str, Any]:
    """Measure P7 and P8."""
    figures = {"P7": p7(options), "P8": p8(options)}
    return as_result(
        {name: each["ratio"]["rounds"] for name, each in figures.items()},
        figures,
        {"cap": 800, "page": _PAGE, "web workers": "2 (P7), 1 (P8)"},
    )


def p7(options: Options, seconds: float = 2.0) -> dict[str, Any]:
    """Compare first pages of 20 per second with constant answers of equal size.

    Two web processes, eight connections, a bearer token in each request.
    """
    with opened() as bench:
        graph(bench.stores)
        pages = requests(_PLAIN)
        with web(bench, 2, "benchmarks.constant") as (port, _):
            size = len(warm(port, pages).body)
            constants = [request("GET", f"/constant/{size}", "none")]
            warm(port, constants)
            measures = [_rate(port, each, seconds) for each in (pages, constants)]
            taken = in_turn(options, "P7", *measures)
    return {**compared("pages_per_second", "constants_per_second", *taken), "bytes": size}


def p8(options: Options, count: int = 500) -> dict[str, Any]:
    """Compare the median first page of followers of 500 celebrities with that of followers of none.

    One web process, one connection, `count` pages in each round.
    """
    with opened() as bench:
        graph(bench.stores, _CELEBRITIES)
        fans, plain = requests(_FANS), requests(_PLAIN)
        with web(bench, 1) as (port, _):
            for each in (fans, plain):
                warm(port, each)
            measures = [median_us(port, each, count) for each in (fans, plain)]
            taken = in_turn(options, "P8", *measures)
    return compared("following_500_us", "following_none_us", *taken)


def graph(stores: Stores, celebrities: range = range(0)) -> None:
    """Store viewers who follow forty talkative accounts; fans also follow the celebrities."""
    edges = [(viewer, author) for viewer in (*_PLAIN, *_FANS) for author in _ORDINARY]
    load_edges(stores, [*edges, *((fan, celebrity) for fan in _FANS for celebrity in celebrities)])
    full = stores.limits.feed_cap + 1
    add_posts(stores, _ORDINARY, 2 * full // len(_ORDINARY), route="push")
    add_posts(stores, celebrities, full, route="pull")


def add_posts(stores: Stores, authors: range, each: int, *, route: str) -> None:
    """Insert `each` posts of every author, in random order, over a year until an hour ago."""
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
    """Return requests of the viewers' first pages."""
    return [request("GET", f"/v1/feed?limit={_PAGE}", token(viewer)) for viewer in viewers]


def in_turn(options: Options, name: str, *measures: Callable[[], float]) -> list[list[float]]:
    """Take all measures once in each round (A B A B); return the values of each measure."""
    taken: list[list[float]] = [[] for _ in measures]
    for _ in options.each_round(name):
        for values, measure_once in zip(taken, measures, strict=True):
            values.append(measure_once())
    return taken


def compared(
    one: str, other: str, ones: Sequence[float], others: Sequence[float]
) -> dict[str, Any]:
    """Return two measures, and the ratio of the two within each round."""
    ratios = [a / b for a, b in zip(ones, others, strict=True)]
    return {one: spread(ones), other: spread(others), "ratio": spread(ratios)}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the median, the range, and the value of each round."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": list(values),
    }


def as_result(
    rows: dict[str, Sequence[float]],
    figures: dict[str, dict[str, Any]],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Return a measurement's result with every measure as a series."""
    series = {
        f"{name}, {measure}": values["rounds"]
        for name, measures in figures.items()
        for measure, values in measures.items()
        if isinstance(values, dict)
    }
    return {"rows": rows, "series": series, "settings": settings}


def warm(port: int, messages: list[bytes]) -> Loop:
    """Send each request eight times, so that most likely every web process has answered it.

    After that feeds are built, and post bodies and celebrity lists are cached.
    """
    return drive(port, messages, connections=_CONNECTIONS, count=8 * len(messages))


def _rate(port: int, messages: list[bytes], seconds: float) -> Callable[[], float]:
    return lambda: drive(port, messages, connections=_CONNECTIONS, seconds=seconds).per_second


def median_us(port: int, messages: list[bytes], count: int) -> Callable[[], float]:
    return lambda: (
        statistics.median(drive(port, messages, connections=1, count=count).latencies) * 1e6
    )
