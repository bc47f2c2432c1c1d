"""A look at the real system: the inputs of the cost model, taken every ten minutes by a worker, or by `threshold inputs`.

What grows with the accounts is one grouped scan of them and the posts of the window; the rest is samples drawn by key. A request
never does any of this.
"""

from __future__ import annotations

import datetime as dt
import heapq
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from feedsvc import post_ids
from feedsvc.graph import sample
from feedsvc.planning.calibration import scratch
from feedsvc.planning.survey import authors, stored, viewers
from feedsvc.planning.survey.aggregates import DAY_SECONDS, Survey, grid
from feedsvc.planning.survey.authors import Cells, Posting
from feedsvc.planning.survey.viewers import Sample
from feedsvc.store.redis import usage
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Post

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from feedsvc.planning.survey.aggregates import NamedAccount
    from feedsvc.planning.survey.authors import Histogram
    from feedsvc.store import Stores
    from feedsvc.store.redis.usage import Reads

_log = structlog.get_logger()

STEPS = 5
_REFRESH = dt.timedelta(minutes=10)

_WINDOW_DAYS = 7
# The window is shorter where it would hold more posts: a look takes seconds, however busy the service is.
_WINDOW_POSTS = 1_000_000
# A service younger than this is not old enough for a rate: what it has seen is taken as one such time's.
_LEAST_SECONDS = 3_600.0
# Fewer authors, or viewers among those counted, say nothing about the rest.
_FEW = 20
_ASSUMED_READS_A_DAY = 10.0
_ASSUMED_HISTORY_DAYS = 30.0

_VIEWERS = 10_000
_ALL_VIEWERS_UPTO = 100_000
_FEEDS = 2_000
# Accounts are drawn in runs of neighbours: thousands one by one would take a worker from its fan-outs for half a minute.
_RUN = 20
_Z = 1.96


@dataclass(frozen=True)
class _Readers:
    """Reads a day, and viewers that stand for all who read."""

    reads: float
    margin: float
    sample: Sample
    is_assumed: bool


@dataclass(frozen=True)
class _Feeds:
    """Feeds that exist, and the share of follows whose follower has one."""

    count: float
    share: float
    margin: float


def refresh_if_old(stores: Stores) -> bool:
    """Take a look unless the last one is younger than ten minutes, and remove what a killed calibration has left; says whether it did."""
    taken_at = stored.survey_taken_at(stores)
    if taken_at is not None and now() - taken_at < _REFRESH:
        return False
    scratch.clean(stores)
    refresh(stores)
    return True


def refresh(stores: Stores, progress: Callable[[str], None] = lambda _: None) -> Survey:
    """Take a look and keep what it found; `progress` is told of each of the `STEPS` as it begins."""
    began = time.monotonic()
    found = _look(stores, progress)
    stored.save_survey(stores, found)
    _log.info(
        "threshold.inputs_taken",
        accounts=found.accounts,
        seconds=round(time.monotonic() - began, 2),
        assumed=found.assumed,
    )
    return found


def _look(stores: Stores, progress: Callable[[str], None]) -> Survey:
    progress("accounts")
    with stores.sql.reading() as connection:
        counts = authors.histogram(connection)
    accounts, largest = sum(counts.values()), max((followers for followers, _ in counts), default=0)
    points = grid(largest)
    progress("posts")
    with stores.sql.reading() as connection:
        posting, window = _posting(stores, connection)
        cells = Cells(points, posting)
        named = authors.named(connection, counts, cells)
    _fill(cells, counts, {each.account_id: each for each in named if each.pin})
    progress("reads")
    reading = _reading(stores, accounts, window)
    progress("follows")
    with stores.sql.reading() as connection:
        lists = viewers.lists_by_threshold(connection, points, posting, reading.sample)
    progress("feeds")
    feeds = _feeds(stores, accounts, is_assumed=reading.is_assumed)
    complete = authors.complete_from(counts)
    singles = sum(each.posts for each in named if each.pin or each.follower_count >= complete)
    done = cells.done()
    return Survey(
        taken_at=now(),
        window_seconds=window,
        accounts=accounts,
        largest=largest,
        posts=singles + sum(cell.posts for cell in done),
        reads=reading.reads,
        reads_margin=reading.margin,
        viewers_sampled=len(reading.sample.weights),
        materialised_feeds=feeds.count,
        materialised_share=feeds.share,
        materialised_margin=feeds.margin,
        assumed=[
            name
            for name, is_so in (("posts", posting.is_assumed), ("reads", reading.is_assumed))
            if is_so
        ],
        complete_from=complete,
        cells=done,
        named=named,
        lists=lists,
    )


def _posting(stores: Stores, connection: Connection) -> tuple[Posting, float]:
    """Who posted in the window, and how many seconds that is."""
    moment = time.time()
    first = connection.scalar(sa.select(sa.func.min(Post.id)))
    age = _LEAST_SECONDS if first is None else moment - post_ids.seconds_of(first)
    start = moment - min(age, _WINDOW_DAYS * DAY_SECONDS)
    most = connection.scalar(
        sa.select(Post.id).order_by(Post.id.desc()).offset(_WINDOW_POSTS).limit(1)
    )
    if most is not None:
        start = max(start, post_ids.seconds_of(most))
    window = max(moment - start, _LEAST_SECONDS)
    since = post_ids.lowest_of(int(start * 1000))
    found = authors.authors(connection, since, DAY_SECONDS / window)
    is_assumed = len(found) < _FEW
    history = _ASSUMED_HISTORY_DAYS if is_assumed else max(age, _LEAST_SECONDS) / DAY_SECONDS
    rates = {author.account: author.posts for author in found}
    return Posting(
        rates, [] if is_assumed else found, history, stores.limits.feed_cap, is_assumed
    ), window


def _fill(cells: Cells, counts: Histogram, pinned: dict[int, NamedAccount]) -> None:
    """Put every account into its cell, but for those that stand alone: the largest, and the pinned."""
    posting, complete = cells.posting, authors.complete_from(counts)
    for (followers, route), accounts in counts.items():
        if followers < complete:
            cells.add(accounts, followers, posting.rate(0, followers), route)
    # So far as if nobody had posted, unless all are taken to.
    for each in pinned.values():
        if each.follower_count < complete:
            cells.add(
                -1, each.follower_count, posting.rate(0, each.follower_count), each.last_route
            )
    for author in posting.authors:
        if author.followers < complete and author.account not in pinned:
            cells.add(-1, author.followers, 0.0, author.last_route)
            cells.add(1, author.followers, author.posts, author.last_route)


def _reading(stores: Stores, accounts: int, window: float) -> _Readers:
    """What the counted viewers read; if hardly any have, every account alike, so many times a day."""
    counted = usage.sampled_reads(stores)
    if len(counted.by_viewer) < _FEW:
        drawn = sample.draw(stores, None if accounts <= _ALL_VIEWERS_UPTO else _VIEWERS, _RUN)
        return _Readers(
            accounts * _ASSUMED_READS_A_DAY, 0.0, Sample(dict.fromkeys(drawn, 1.0)), is_assumed=True
        )
    seconds = _LEAST_SECONDS if window <= _LEAST_SECONDS else max(counted.seconds, 1.0)
    per_day = DAY_SECONDS / seconds
    chosen = heapq.nsmallest(_VIEWERS, counted.by_viewer, key=usage.sample_order)
    weights = {viewer: counted.by_viewer[viewer] * per_day for viewer in chosen}
    return _Readers(
        _total(counted) * per_day, _margin(counted) * per_day, Sample(weights), is_assumed=False
    )


def _total(counted: Reads) -> float:
    return usage.SAMPLE_ONE_IN * sum(counted.by_viewer.values())


def _margin(counted: Reads) -> float:
    """Of a total that a random part of the viewers stands for: each of them could as well have been left out."""
    squares = sum(number**2 for number in counted.by_viewer.values())
    return _Z * math.sqrt(squares * usage.SAMPLE_ONE_IN * (usage.SAMPLE_ONE_IN - 1))


def _feeds(stores: Stores, accounts: int, *, is_assumed: bool) -> _Feeds:
    """Which of a sample of accounts have a feed, and which share of the sample's follows they make."""
    if is_assumed:  # all read: all have one
        return _Feeds(accounts, 1.0 if accounts else 0.0, 0.0)
    drawn = sample.draw(stores, _FEEDS, _RUN)
    with stores.sql.reading() as connection:
        rows = connection.execute(
            sa.select(Account.id, Account.following_count).where(Account.id.in_(drawn))
        )
        follows = {row.id: row.following_count for row in rows}
    has_feed = _exist(stores, drawn)
    total = sum(follows.values()) or 1
    share = sum(follows.get(account, 0) for account in has_feed) / total
    variance = (
        sum((follows.get(account, 0) * ((account in has_feed) - share)) ** 2 for account in drawn)
        / total**2
    )
    is_all = len(drawn) == accounts
    return _Feeds(
        accounts * len(has_feed) / (len(drawn) or 1),
        share,
        0.0 if is_all else _Z * math.sqrt(variance),
    )


def _exist(stores: Stores, accounts: list[int]) -> set[int]:
    with stores.redis.pipeline(transaction=False) as pipe:
        for account in accounts:
            pipe.exists(stores.keys.homefeed(account))
        return {account for account, exists in zip(accounts, pipe.execute(), strict=True) if exists}
