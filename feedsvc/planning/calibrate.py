"""Publish, fan out and read for a few seconds, and store the processor time of this work.

A service without traffic has no work of its own from which to learn unit costs. A calibration opens
a second service with embedded stores in a temporary folder. It calls the functions that uploads,
workers and reads call, so the work is counted as in production. Users of the first service see no
post of it.
"""

from __future__ import annotations

import os
import platform
import random
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from feedsvc.embedded import datadir
from feedsvc.embedded.valkey import attach_or_start
from feedsvc.fanout import chain, micro_batches
from feedsvc.feed import reader
from feedsvc.graph import generate
from feedsvc.paging import DEFAULT_LIMIT
from feedsvc.planning import unit_costs
from feedsvc.posts import publish
from feedsvc.store import open_stores
from feedsvc.store.redis import usage, work
from feedsvc.store.redis.delivery import START
from feedsvc.store.sql import clock, migrate
from feedsvc.store.sql.tables import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feedsvc.settings import Settings
    from feedsvc.store import Stores

ROUNDS = 20
_ACCOUNTS = 3_000
# The largest of so few accounts has 210 followers. Its fan-out is to have a link of its own.
_SLICE = 50
# Uploads of a round, each with a fan-out of its own, and uploads that share a micro-batch.
_ALONE, _TOGETHER = 8, 8
# Pages of a round in a process that has read before, and in one that begins.
_READS, _FIRST_READS = 60, 10
# Posts arrive one by one at a service. In a loop they cost little more than half as much, because
# the processor's caches are full of them.
_PAUSE_SECONDS = 0.02


def calibrate(stores: Stores, progress: Callable[[], object] = lambda: None) -> None:
    """Do the work and store what it counted. `progress` is called after each of the `ROUNDS`."""
    source = random.Random(1)  # noqa: S311 -- which account posts and reads
    with _own_stores(stores.limits) as own:
        generate.load(own, _ACCOUNTS, seed=1)
        sizes = _sizes(own)
        authors = [account for account, followers in sizes.items() if followers]
        # The processor time of other viewers is not counted.
        viewers = [account for account in sizes if usage.is_in_sample(account)]
        for _ in range(ROUNDS):
            for author in source.sample(authors, _ALONE):
                time.sleep(_PAUSE_SECONDS)
                _fan_out(own, _upload(own, author), sizes[author])
            for author in source.sample(authors, _TOGETHER):
                _upload(own, author)
            micro_batches.run(own)
            _read(own, source.choices(viewers, k=_READS))
            _read(own.with_empty_near_cache(), source.choices(viewers, k=_FIRST_READS))
            progress()
        found = work.parse(own.usage.take())
        del found["enqueue"]  # nothing was sent
    unit_costs.save_calibration(stores, clock.now(stores.sql), _machine(), found)


@contextmanager
def _own_stores(limits: Settings) -> Iterator[Stores]:
    """Open a service of its own: a database and a Valkey in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="feedsvc-") as name:
        folder = datadir.prepare(Path(name))
        with closing(attach_or_start(folder)) as valkey:
            database = f"sqlite:///{folder / datadir.DATABASE_FILE}"
            settings = replace(limits, fanout_slice=_SLICE)
            own = open_stores(settings, database_url=database, redis_url=valkey.url())
            with closing(own):
                migrate.upgrade(own.sql)
                yield replace(own, usage=_KeptUsage())


class _KeptUsage(usage.UsageCounter):
    """Keeps all counts, and adds none to Redis."""

    def add(self, *_: object) -> None:
        """Add nothing."""


def _sizes(own: Stores) -> dict[int, int]:
    """Return the number of followers of each account."""
    with own.sql.reading() as connection:
        return {
            row.id: row.follower_count
            for row in connection.execute(select(Account.id, Account.follower_count))
        }


def _upload(own: Stores, author: int) -> int:
    return publish.publish(
        own, lambda *_: None, author, photo_url="https://img.example/1.jpg", description="Sunset"
    ).post_id


def _fan_out(own: Stores, post_id: int, followers: int) -> None:
    """Do a worker's work for a new post."""
    if followers > _SLICE:
        chain.run_link(own, lambda *_: None, post_id, 0, START)
    else:
        micro_batches.run(own)


def _read(own: Stores, viewers: list[int]) -> None:
    for viewer in viewers:
        reader.home_page(own, viewer, None, DEFAULT_LIMIT)


def _machine() -> str:
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.machine()}, {python}"
