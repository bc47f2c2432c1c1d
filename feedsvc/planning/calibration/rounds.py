"""One round of a calibration: every piece of work, measured once on the fixtures."""

from __future__ import annotations

import datetime as dt
import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.fanout import chain, done, micro_batches, slices, sweep
from feedsvc.feed import reader
from feedsvc.graph import followers
from feedsvc.planning.calibration.fixture_accounts import FOLLOWERS, FixtureAccounts, fill_lists
from feedsvc.planning.calibration.fixture_viewers import NONE, ONE, FixtureViewers
from feedsvc.planning.calibration.meter import Meter, message_us, spaced
from feedsvc.planning.costs import PAGE_POSTS
from feedsvc.store.redis import delivery
from feedsvc.store.redis.delivery import END, START, WHOLE
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery import Celery

    from feedsvc.store import Stores

POSTS = 10
# How many viewers of each kind with lists read in a round.
READS = 100
# An author follows another account after every 7 pages, and an author posts after every 100 pages.
# Without these changes, lists would cost too little: in a process that only reads, the first list
# costs a third less (docs/evidence/threshold.md).
_PAGES_PER_FOLLOW, _PAGES_PER_POST = 7, 100
# This share of the shortest times of single reads is left out, and as much of the longest.
_LEFT_OUT = 0.025


def measure_round(
    accounts: FixtureAccounts,
    viewers: FixtureViewers,
    meter: Meter,
    celery: Celery,
    number: int,
) -> dict[str, float]:
    """Measure every piece of work once. Returns microseconds by the name of the work.

    Each round reads the next `READS` viewers of each kind with lists, in turn.
    """
    stores, posts = accounts.stores, list[int]()
    upload = meter.us(lambda: posts.extend(accounts.upload(accounts.author, POSTS)), POSTS)
    times = {"upload": upload} | _deliveries(accounts, meter, posts)
    done.write(stores, dict.fromkeys(posts, ()), now(), {post: [0] for post in posts})
    _make_due(stores)
    times["take off"] = meter.us(lambda: sweep.sweep(stores, lambda *_: None), POSTS)
    times["sweep"] = meter.us(lambda: sweep.sweep(stores, lambda *_: None), 1)
    times["message"] = message_us(celery)
    return times | _fanouts(accounts, meter) | _reads(viewers, meter, number)


def _deliveries(accounts: FixtureAccounts, meter: Meter, posts: Sequence[int]) -> dict[str, float]:
    """Measure reading follower ids, pushes into home feeds, and pushes that find no home feed.

    Afterwards the cursor of each post is at the end.
    """
    stores = accounts.stores

    def follower_ids(author: int) -> list[str]:
        with stores.sql.reading() as connection:
            return followers.batch(stores, connection, author, 0, FOLLOWERS)

    def deliver(author: int, post_ids: Sequence[int]) -> Callable[[], object]:
        batch = slices.Batch(START, END, follower_ids(author))
        size = stores.limits.fanout_slice

        def push_all() -> None:
            for post_id in post_ids:
                parts = slices.cut(batch, WHOLE, stores.keys, 0, {}, size)
                delivery.deliver(stores, post_id, 0, parts)

        return push_all

    pushes = len(posts) * FOLLOWERS
    no_posts = [post_id + 1 for post_id in posts]  # no post has these ids
    return {
        "ids": meter.us(lambda: [follower_ids(accounts.author) for _ in posts], pushes),
        "push": meter.us(deliver(accounts.author, posts), pushes),
        "skip": meter.us(deliver(accounts.no_feeds, no_posts), pushes),
    }


def _fanouts(accounts: FixtureAccounts, meter: Meter) -> dict[str, float]:
    """Measure a link that delivers to all followers, and micro-batches of one and of many posts."""
    stores = accounts.stores
    posts = accounts.upload(accounts.author, POSTS)

    def run_links() -> None:
        for post_id in spaced(posts):
            chain.run_link(stores, lambda *_: None, post_id, 0, START)

    def micro_batch_us(posts: int) -> float:
        accounts.upload(accounts.small, posts)
        return meter.us(lambda: [micro_batches.run(stores) for _ in spaced((1,))], 1)

    times = {
        "link": meter.us(run_links, POSTS),
        "micro-batch": statistics.mean(micro_batch_us(1) for _ in range(POSTS)),
        "micro-batch of many": micro_batch_us(POSTS),
    }
    _make_due(stores)
    sweep.sweep(stores, lambda *_: None)
    return times


def _reads(viewers: FixtureViewers, meter: Meter, number: int) -> dict[str, float]:
    """Measure a first page, and the time that lists add to it.

    Each page is read twice, with two near caches. One of them has no lists. The difference of the
    two times is the time that lists add. The second read of a page costs less, so the two near
    caches take turns to be the first.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for process in viewers.stores, viewers.no_lists, viewers.few_lists:
        _page_us(process, viewers.others[0])  # applies the invalidations since the last round
    for at, (kind, viewer) in enumerate(viewers.draw(number, READS)):
        if at % _PAGES_PER_FOLLOW == 0:
            viewers.follow()
        if at % _PAGES_PER_POST == 0:
            viewers.put_old_post()
        processes = [viewers.no_lists, viewers.process_of(kind)]
        if at % 2:
            without, with_lists = (_page_us(process, viewer) for process in processes)
        else:
            with_lists, without = (_page_us(process, viewer) for process in reversed(processes))
        times[kind].append(with_lists - without)
        times["read"].append(without)
    for viewer in viewers.viewers[ONE][:POSTS]:
        viewers.put_old_post()
        times["learn"].append(_page_us(viewers.stores, viewer) - _page_us(viewers.stores, viewer))
    found = {name: _trimmed_mean(each) for name, each in times.items()}
    # Lists in the near cache add no work in the stores. So the work of the stores is measured with
    # viewers without lists.
    without_lists = viewers.viewers[NONE]
    _, stores_us = meter.parts_us(
        lambda: [_page_us(viewers.stores, viewer) for viewer in without_lists], len(without_lists)
    )
    return found | {"read": found["read"] + stores_us}


def _page_us(process: Stores, viewer: int) -> float:
    """Read a first page and return the processor time of this process, in µs."""
    began = time.process_time()
    reader.home_page(process, viewer, None, PAGE_POSTS)
    return (time.process_time() - began) * 1e6


def _trimmed_mean(values: Sequence[float]) -> float:
    """Return the mean without the shortest and longest times, which include interruptions."""
    left_out = int(len(values) * _LEFT_OUT)
    return statistics.mean(sorted(values)[left_out : len(values) - left_out])


def feed_bytes(accounts: FixtureAccounts) -> dict[str, float]:
    """Ask Redis for the memory of an empty home feed, and of an entry of a full one."""
    redis, keys = accounts.stores.redis, accounts.stores.keys
    full, empty = keys.homefeed(accounts.with_feed[-1]), keys.homefeed(accounts.small)
    fill_lists(accounts.stores, {empty: ()}, floor=1)
    full_bytes, empty_bytes = (redis.memory_usage(key, samples=0) or 0 for key in (full, empty))
    entries = redis.llen(full) - 1
    redis.delete(empty)
    return {"feed_bytes": empty_bytes, "entry_bytes": (full_bytes - empty_bytes) / entries}


def _make_due(stores: Stores) -> None:
    """Make every waiting fan-out due for the sweep now."""
    with stores.sql.writing() as connection:
        connection.execute(
            sa.update(Fanout)
            .where(Fanout.next_look_at.is_not(None))
            .values(next_look_at=now() - dt.timedelta(seconds=1))
        )
