"""Unit costs, measured on this system: the service's own functions, on scratch stores, in rounds.

Each unit cost is the median of the rounds, and its margin the half-width of the median's 95 % interval. Differences of two
measurements give what one of them has more of.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
import sqlite3
import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from feedsvc.fanout import chain, done, micro_batches, sweep
from feedsvc.feed import reader
from feedsvc.graph import followers
from feedsvc.planning import calibrated as calibration_store
from feedsvc.planning.calibrated import Calibrated
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
)
from feedsvc.planning.calibration.messages import message_us
from feedsvc.planning.calibration.meter import Meter, spaced
from feedsvc.planning.calibration.scratch import scratch_stores
from feedsvc.planning.costs import UnitCosts, tenfolds
from feedsvc.store.redis import delivery
from feedsvc.store.redis.delivery import END, START, Slice
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Fanout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celery import Celery

    from feedsvc.store import Stores

    # what was measured -> µs
    Times = Mapping[str, float]

_log = structlog.get_logger()

ROUNDS = 9
_POSTS = 10
# Viewers of each kind with lists that read in a round.
_READS = 100
# After so many pages somebody follows somebody, after so many there is a new post: where a process only reads, lists cost less.
_FOLLOWED, _POSTED = 7, 100
# Of what single reads take, the least and the most are left out: this share of them each.
_LEFT_OUT = 0.025
_WARM = 2
# What a process holds at most is bounded by its copies' memory; a service without posts yet is calibrated for some.
_LEAST_HELD, _MOST_HELD = 2_000, 80_000
_ANSWER_SECONDS = 1.0
# Student's t for a 95 % interval of nine rounds; a median varies a quarter more than a mean (√(π/2)).
_T = 2.306 * math.sqrt(math.pi / 2)


def calibrate(
    stores: Stores, celery: Celery, progress: Callable[[], object] = lambda: None
) -> Calibrated:
    """Measure the unit costs and keep them; `progress` is called after each of `ROUNDS`. Raises `NoScratch`."""
    rounds: list[UnitCosts] = []
    held = _lists(stores)
    with scratch_stores(stores) as scratch:
        stage = FixtureAccounts(scratch, held)
        stage.build()
        meter = Meter(scratch)
        for number in range(-_WARM, ROUNDS):
            costs = unit_costs(
                _round(stage, meter, celery, number), _bytes(stage), stage.audience.held
            )
            if number >= 0:
                rounds.append(costs)
                progress()
    found = _median(
        rounds,
        workers=len(celery.control.ping(timeout=_ANSWER_SECONDS) or []),
        machine=_machine(stores),
    )
    calibration_store.save_calibration(stores, found)
    _log.info(
        "threshold.calibrated", machine=found.machine, workers=found.workers, **vars(found.costs)
    )
    return found


def _lists(stores: Stores) -> int:
    """How many lists a process of this system would hold if everybody who has posted were a celebrity."""
    with stores.sql.reading() as connection:
        posted = (
            connection.scalar(sa.select(sa.func.count()).where(Account.last_route.is_not(None)))
            or 0
        )
    return max(_LEAST_HELD, min(_MOST_HELD, posted))


def unit_costs(times: Times, memory: Mapping[str, float], held: int) -> UnitCosts:
    """What was measured, by a process that held so many lists, taken apart. Nothing costs less than nothing."""
    entry = max(0.0, times[ONE_LONG] - times[ONE]) / (LONG - SHORT)
    one_list = (times[MANY] - times[ONE] - (LISTS - SHORT) * entry) / (LISTS - 1)
    first = times[ONE] - times[NONE] - one_list - SHORT * entry
    among_few = (times[AMONG_FEW] - times[NONE] - first) / LISTS - entry
    # A list costs something where a process holds no other, too.
    tenfold = max(
        0.0,
        min((one_list - among_few) / (tenfolds(held) - tenfolds(FEW)), among_few / tenfolds(FEW)),
    )
    follower = times["ids"] + times["push"]
    small_post = (times["round of many"] - times["round"]) / (_POSTS - 1)
    found = {
        "upload_us": times["upload"],
        "fanout_us": times["take off"] - times["sweep"] / _POSTS,
        "round_us": times["message"] + times["round"] - small_post,
        "small_fanout_us": small_post - SMALL * times["push"],
        "link_us": times["message"] + times["link"] - FOLLOWERS * follower,
        "follower_id_us": times["ids"],
        "push_us": times["push"],
        "skip_us": times["skip"],
        "read_us": times["read"],
        "look_up_us": times[NONE] / tenfolds(held),
        "first_list_us": first,
        "list_us": one_list - tenfolds(held) * tenfold,
        "list_tenfold_us": tenfold,
        "list_entry_us": entry,
        "learn_us": times["learn"],
        **memory,
    }
    return UnitCosts(**{name: max(0.0, value) for name, value in found.items()})


def _round(stage: FixtureAccounts, meter: Meter, celery: Celery, number: int) -> Times:
    """Everything once, in one order; reads by other viewers with every number."""
    stores = stage.stores
    posts: list[int] = []
    times = {"upload": meter.us(lambda: posts.extend(stage.upload(stage.author, _POSTS)), _POSTS)}
    times |= _deliveries(stage, meter, posts)
    done.write(stores, dict.fromkeys(posts, ()), now(), {post: [0] for post in posts})
    _due(stores)
    times["take off"] = meter.us(lambda: sweep.sweep(stores, lambda *_: None), _POSTS)
    times["sweep"] = meter.us(lambda: sweep.sweep(stores, lambda *_: None), 1)
    times |= _fanouts(stage, meter)
    times |= _reads(stage, meter, number)
    times["message"] = message_us(celery)
    return times


def _deliveries(stage: FixtureAccounts, meter: Meter, posts: Sequence[int]) -> Times:
    """Follower ids, and pushes into feeds that exist and that do not; each post's cursor is at the end then."""
    stores = stage.stores
    found = _ids(stage, stage.author), _ids(stage, stage.skipped)

    def deliver(to: Sequence[str], post_id: int) -> object:
        return delivery.deliver(stores, post_id, 0, _slices(to, stores.limits.fanout_slice))

    skipping = [post + 1 for post in posts]  # ids that are no post's: nothing takes them
    return {
        "ids": meter.us(lambda: [_ids(stage, stage.author) for _ in posts], _POSTS * FOLLOWERS),
        "push": meter.us(lambda: [deliver(found[0], post) for post in posts], _POSTS * FOLLOWERS),
        "skip": meter.us(
            lambda: [deliver(found[1], post) for post in skipping], _POSTS * FOLLOWERS
        ),
    }


def _slices(ids: Sequence[str], size: int) -> list[Slice]:
    parts = [ids[first : first + size] for first in range(0, len(ids), size)]
    cursors = [START, *(part[-1] for part in parts[:-1]), END]
    return [
        Slice(cursors[number], cursors[number + 1], part, begins=number == 0)
        for number, part in enumerate(parts)
    ]


def _ids(stage: FixtureAccounts, author: int) -> list[str]:
    with stage.stores.sql.reading() as connection:
        return followers.batch(stage.stores, connection, author, 0, FOLLOWERS)


def _fanouts(stage: FixtureAccounts, meter: Meter) -> Times:
    """A link that delivers to all and writes done; rounds of one small fan-out and of many."""
    stores = stage.stores
    links = stage.upload(stage.author, _POSTS)

    def run_links() -> None:
        for post_id in spaced(links):
            chain.run_link(stores, lambda *_: None, post_id, 0, START)

    def round_of(posts: int) -> float:
        stage.upload(stage.small, posts)
        return meter.us(lambda: [micro_batches.run(stores) for _ in spaced((1,))], 1)

    times = {
        "link": meter.us(run_links, _POSTS),
        "round": statistics.mean(round_of(1) for _ in range(_POSTS)),
        "round of many": round_of(_POSTS),
    }
    _due(stores)
    sweep.sweep(stores, lambda *_: None)
    return times


def _reads(stage: FixtureAccounts, meter: Meter, number: int) -> Times:
    """A first page, and what lists add to one: what it takes more than in a process that sees no celebrity, which reads it as well.

    Of two reads of a page the second costs less: each process is first as often.
    """
    audience = stage.audience
    times: dict[str, list[float]] = defaultdict(list)
    for process in stage.stores, audience.blind, audience.among_few:
        _own_us(process, audience.others[0])  # what was put since the last round, they learn now
    for at, (kind, viewer) in enumerate(audience.turn(number, _READS)):
        if at % _FOLLOWED == 0:
            audience.follow()
        if at % _POSTED == 0:
            audience.put_old()
        if at % 2:
            without, own = _own_us(audience.blind, viewer), _own_us(audience.seeing(kind), viewer)
        else:
            own, without = _own_us(audience.seeing(kind), viewer), _own_us(audience.blind, viewer)
        times[kind].append(own - without)
        times["read"].append(without)
    for viewer in audience.viewers[ONE][:_POSTS]:
        audience.put_old()
        times["learn"].append(_own_us(stage.stores, viewer) - _own_us(stage.stores, viewer))
    found = {name: _middle(each) for name, each in times.items()}
    return found | {"read": found["read"] + _of_stores_us(stage, meter)}


def _of_stores_us(stage: FixtureAccounts, meter: Meter) -> float:
    """What the stores take for a first page. Lists that a process holds cost them nothing."""
    viewers = stage.audience.viewers[NONE]
    return meter.parts_us(
        lambda: [_own_us(stage.stores, viewer) for viewer in viewers], len(viewers)
    )[1]


def _own_us(stores: Stores, viewer: int) -> float:
    """What this process takes for a first page."""
    began = time.process_time()
    reader.home_page(stores, viewer, None, 20)
    return (time.process_time() - began) * 1e6


def _middle(values: Sequence[float]) -> float:
    """The mean of all but the least and the most: what interrupts a read is no part of it."""
    left_out = int(len(values) * _LEFT_OUT)
    return statistics.mean(sorted(values)[left_out : len(values) - left_out])


def _bytes(stage: FixtureAccounts) -> dict[str, float]:
    """What Redis says that a full feed and an empty one take."""
    redis, key = stage.stores.redis, stage.stores.keys.homefeed(stage.materialised[-1])
    empty = stage.stores.keys.homefeed(stage.small)
    redis.rpush(empty, "f1")
    full, bare = (redis.memory_usage(name, samples=0) or 0 for name in (key, empty))
    entries = redis.llen(key) - 1
    redis.delete(empty)
    return {"feed_bytes": float(bare), "entry_bytes": (full - bare) / entries}


def _due(stores: Stores) -> None:
    """What the sweep waits for is due now."""
    with stores.sql.writing() as connection:
        connection.execute(
            sa.update(Fanout)
            .where(Fanout.next_look_at.is_not(None))
            .values(next_look_at=now() - dt.timedelta(seconds=1))
        )


def _median(rounds: Sequence[UnitCosts], *, workers: int, machine: str) -> Calibrated:
    by_name: dict[str, list[float]] = defaultdict(list)
    for costs in rounds:
        for name, value in vars(costs).items():
            by_name[name].append(value)
    costs = UnitCosts(**{name: statistics.median(values) for name, values in by_name.items()})
    margins = UnitCosts(
        **{
            name: _T * statistics.stdev(values) / math.sqrt(len(values))
            for name, values in by_name.items()
        }
    )
    return Calibrated(now(), machine, max(1, workers), costs, margins)


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
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {redis}, {database}"
