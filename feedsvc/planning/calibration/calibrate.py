"""Measure the unit costs of this system.

Each round measures every piece of work once. A unit cost is the median over the rounds, and its
margin is the half-width of the median's 95 % interval. Some unit costs are the difference of two
measurements with different amounts of the work.
"""

from __future__ import annotations

import math
import os
import platform
import random
import sqlite3
import statistics
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from feedsvc.planning import calibrated
from feedsvc.planning.calibrated import CalibratedCosts
from feedsvc.planning.calibration.fixture_accounts import FOLLOWERS, SMALL, FixtureAccounts
from feedsvc.planning.calibration.fixture_viewers import (
    AMONG_FEW,
    FEW,
    LISTS,
    LONG,
    MANY,
    NONE,
    ONE,
    ONE_LONG,
    SHORT,
    FixtureViewers,
)
from feedsvc.planning.calibration.meter import Meter
from feedsvc.planning.calibration.rounds import POSTS, feed_bytes, measure_round
from feedsvc.planning.calibration.scratch import scratch_stores
from feedsvc.planning.costs import UnitCosts, tenfolds
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celery import Celery

    from feedsvc.store import Stores

_log = structlog.get_logger()

ROUNDS = 9
_WARM_UP_ROUNDS = 2
# Besides the lists that viewers merge, calibration caches as many lists as accounts have posted. A
# process never needs more. At least 2,000 lists are cached, as for a young service, and at most
# 80,000. The near cache has room for 4,000,000 ids, and counts 45 for each of these lists.
_LEAST_LISTS, _MOST_LISTS = 2_000, 80_000
_ANSWER_SECONDS = 1.0
# Student's t for a 95 % interval of nine rounds. A median varies by a quarter more than a mean,
# √(π/2).
_T = 2.306 * math.sqrt(math.pi / 2)


def calibrate(
    stores: Stores, celery: Celery, progress: Callable[[], object] = lambda: None
) -> CalibratedCosts:
    """Measure the unit costs and store them. Raises `NoScratch`.

    `progress` is called after each of the `ROUNDS`.
    """
    rounds: list[UnitCosts] = []
    lists = _lists_to_cache(stores)
    source = random.Random(1)  # noqa: S311 -- lengths and times of fixtures
    with scratch_stores(stores) as scratch:
        accounts = FixtureAccounts(scratch)
        accounts.build(source)
        viewers = FixtureViewers(scratch, lists, source)
        viewers.build()
        meter = Meter(scratch)
        for number in range(-_WARM_UP_ROUNDS, ROUNDS):
            times = measure_round(accounts, viewers, meter, celery, number)
            costs = unit_costs(times, feed_bytes(accounts), viewers.cached_lists)
            if number >= 0:
                rounds.append(costs)
                progress()
    workers = len(celery.control.ping(timeout=_ANSWER_SECONDS) or [])
    found = CalibratedCosts(now(), _machine(stores), max(1, workers), *_medians(rounds))
    calibrated.save(stores, found)
    _log.info(
        "threshold.calibrated", machine=found.machine, workers=found.workers, **vars(found.costs)
    )
    return found


def unit_costs(
    times: Mapping[str, float], memory: Mapping[str, float], cached_lists: int
) -> UnitCosts:
    """Derive the unit costs from the figures of one round. No unit cost is below 0.

    `times`: microseconds by the name of the work. `memory`: bytes of a list and of an entry.
    `cached_lists`: how many lists the process with many lists caches.
    """
    entry = max(0.0, times[ONE_LONG] - times[ONE]) / (LONG - SHORT)
    one_list = (times[MANY] - times[ONE] - (LISTS - SHORT) * entry) / (LISTS - 1)
    first = times[ONE] - times[NONE] - one_list - SHORT * entry
    among_few = (times[AMONG_FEW] - times[NONE] - first) / LISTS - entry
    # `among_few` is `list_us` + tenfolds(FEW) · `list_tenfold_us`, and `list_us` is at least 0. So
    # `list_tenfold_us` is at most `among_few` / tenfolds(FEW).
    tenfold = max(
        0.0,
        min(
            (one_list - among_few) / (tenfolds(cached_lists) - tenfolds(FEW)),
            among_few / tenfolds(FEW),
        ),
    )
    small_post = (times["micro-batch of many"] - times["micro-batch"]) / (POSTS - 1)
    found = {
        "upload_us": times["upload"],
        "fanout_us": times["take off"] - times["sweep"] / POSTS,
        "round_us": times["message"] + times["micro-batch"] - small_post,
        "small_fanout_us": small_post - SMALL * times["push"],
        "link_us": times["message"] + times["link"] - FOLLOWERS * (times["ids"] + times["push"]),
        "follower_id_us": times["ids"],
        "push_us": times["push"],
        "skip_us": times["skip"],
        "read_us": times["read"],
        "look_up_us": times[NONE] / tenfolds(cached_lists),
        "first_list_us": first,
        "list_us": one_list - tenfolds(cached_lists) * tenfold,
        "list_tenfold_us": tenfold,
        "list_entry_us": entry,
        "learn_us": times["learn"],
        **memory,
    }
    return UnitCosts(**{name: max(0.0, value) for name, value in found.items()})


def _lists_to_cache(stores: Stores) -> int:
    """Count the accounts that have posted, within the bounds above."""
    posted = sa.select(sa.func.count()).where(Account.last_route.is_not(None))
    with stores.sql.reading() as connection:
        count = connection.scalar(posted) or 0
    return max(_LEAST_LISTS, min(_MOST_LISTS, count))


def _medians(rounds: Sequence[UnitCosts]) -> tuple[UnitCosts, UnitCosts]:
    """Return the medians and their margins."""
    values = {name: [getattr(costs, name) for costs in rounds] for name in vars(rounds[0])}
    medians = {name: statistics.median(each) for name, each in values.items()}
    margins = {
        name: _T * statistics.stdev(each) / math.sqrt(len(each)) for name, each in values.items()
    }
    return UnitCosts(**medians), UnitCosts(**margins)


def _machine(stores: Stores) -> str:
    server = stores.redis.info("server")
    redis = (
        f"Valkey {server['valkey_version']}"
        if "valkey_version" in server
        else f"Redis {server['redis_version']}"
    )
    if stores.sql.is_sqlite:
        database = f"SQLite {sqlite3.sqlite_version}"
    else:
        with stores.sql.reading() as connection:
            database = f"PostgreSQL {connection.scalar(sa.text('SHOW server_version'))}"
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.machine()}, {python}, {redis}, {database}"
