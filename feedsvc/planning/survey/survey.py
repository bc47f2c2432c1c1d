"""Take a survey. A worker takes one every ten minutes; `threshold inputs` takes one now.

The parts that grow with the service are a grouped scan of the accounts and the posts of the window.
All other parts are samples drawn by key.
"""

from __future__ import annotations

import datetime as dt
import heapq
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
import structlog

from feedsvc import post_ids
from feedsvc.graph import sample
from feedsvc.planning import unit_costs
from feedsvc.planning.survey import authors, viewers
from feedsvc.planning.survey.aggregates import DAY_SECONDS, Z_95, NamedAccount, Survey, grid
from feedsvc.planning.survey.authors import Cells, Posting
from feedsvc.store.redis import usage
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.sql import clock
from feedsvc.store.sql.tables import Account, Post, StoredSurvey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from feedsvc.planning.survey.authors import Histogram
    from feedsvc.store import Stores
    from feedsvc.store.redis.round_trip import Answer

_log = structlog.get_logger()

STEPS = 5
_REFRESH = dt.timedelta(minutes=10)

_WINDOW_DAYS = 7
# The window is cut so that it holds at most about this many posts. With a million posts, a survey
# takes 2.8 s of processor time (docs/evidence/threshold.md).
_WINDOW_POSTS = 1_000_000
# The shortest window. The counts of a younger service are divided by this time, too.
_LEAST_SECONDS = 3_600.0
# Fewer authors, or fewer counted viewers, do not represent the rest.
_FEW = 20
_ASSUMED_READS_PER_DAY = 10.0
_ASSUMED_HISTORY_DAYS = 30.0

_VIEWERS = 10_000
_ALL_VIEWERS_UPTO = 100_000
_FEEDS = 2_000
# The lists of a read vary so much that the mean of 1,000 viewers is off by some 4 %.
_ENOUGH_VIEWERS = 1_000
# Accounts are drawn in runs of neighbours. Thousands of single accounts would keep a worker from
# fan-outs for half a minute.
_RUN = 20


@dataclass(frozen=True)
class _Readers:
    """Reads per day. `weights`: the viewers of a sample with their reads; 1.0 each if assumed."""

    reads: float
    margin: float
    weights: Mapping[int, float]
    is_assumed: bool


class _Drawn(NamedTuple):
    """An account of a sample: its follows, and whether its home feed exists."""

    account: int
    follows: int
    has_feed: bool


@dataclass(frozen=True)
class _Feeds:
    """Home feeds that exist, and the share of follows whose follower has a home feed."""

    count: float
    share: float
    margin: float


def refresh_if_old(stores: Stores) -> bool:
    """Take a survey unless the latest one is younger than ten minutes. Returns whether it did."""
    taken_at = survey_taken_at(stores)
    # A survey of the future was taken before the clock was set back.
    if taken_at is not None and dt.timedelta() <= clock.now(stores.sql) - taken_at < _REFRESH:
        return False
    refresh(stores)
    return True


def refresh(stores: Stores, progress: Callable[[str], None] = lambda _: None) -> Survey:
    """Take a survey and store it. `progress` gets the name of each of the `STEPS` as it begins."""
    began = time.monotonic()
    survey = _take(stores, progress)
    save_survey(stores, survey)
    _log.info(
        "threshold.inputs_taken",
        accounts=survey.accounts,
        seconds=round(time.monotonic() - began, 2),
        assumed=survey.assumed,
    )
    return survey


def survey_taken_at(stores: Stores) -> dt.datetime | None:
    """Return the time of the latest survey; None without a survey."""
    latest = sa.select(StoredSurvey.taken_at).order_by(StoredSurvey.id.desc()).limit(1)
    with stores.sql.reading() as connection:
        return connection.scalar(latest)


def save_survey(stores: Stores, survey: Survey) -> None:
    """Store a survey in place of the earlier ones."""
    row = {"taken_at": survey.taken_at, "data": survey.to_json()}
    with stores.sql.writing() as connection:
        stored = connection.scalar(sa.insert(StoredSurvey).returning(StoredSurvey.id), row)
        connection.execute(sa.delete(StoredSurvey).where(StoredSurvey.id < stored))


def _take(stores: Stores, progress: Callable[[str], None]) -> Survey:
    progress("accounts")
    with stores.sql.reading() as connection:
        counts = authors.histogram(connection)
    accounts = sum(counts.values())
    largest = max((followers for followers, _ in counts), default=0)
    complete = authors.complete_from(counts)
    points = grid(largest)
    progress("posts")
    with stores.sql.reading() as connection:
        posting, window = _posting(stores, connection)
        cells = Cells(points, posting)
        named = authors.named(connection, counts, cells)
    _fill(cells, counts, complete, [each for each in named if each.pin])
    progress("reads")
    drawn = _draw(stores)
    readers = _readers(stores, accounts, window, drawn)
    progress("follows")
    with stores.sql.reading() as connection:
        lists = viewers.lists_by_threshold(connection, points, posting, readers.weights)
    progress("feeds")
    feeds = _feeds(drawn, accounts, is_assumed=readers.is_assumed)
    singles = sum(each.posts for each in named if each.pin or each.follower_count >= complete)
    done = cells.done()
    at, processes = clock.now(stores.sql), usage.processes(stores.redis)
    assumed = {"posts": posting.is_assumed, "reads": readers.is_assumed}
    return Survey(
        taken_at=at,
        window_seconds=window,
        accounts=accounts,
        largest=largest,
        posts=singles + sum(cell.posts for cell in done),
        reads=readers.reads,
        reads_margin=readers.margin,
        viewers_sampled=len(readers.weights),
        materialised_feeds=feeds.count,
        materialised_share=feeds.share,
        materialised_margin=feeds.margin,
        reading_processes=processes.reading,
        working_processes=processes.working,
        work=unit_costs.counted(stores),
        assumed=[name for name, is_assumed in assumed.items() if is_assumed],
        complete_from=complete,
        cells=done,
        named=named,
        lists=lists,
    )


def _posting(stores: Stores, connection: Connection) -> tuple[Posting, float]:
    """Return the posts of the window, and the length of the window in seconds."""
    moment = clock.ms(connection) / 1000
    first = connection.scalar(sa.select(sa.func.min(Post.id)))
    age = _LEAST_SECONDS if first is None else moment - post_ids.seconds_of(first)
    start = moment - min(age, _WINDOW_DAYS * DAY_SECONDS)
    first_allowed = connection.scalar(
        sa.select(Post.id).order_by(Post.id.desc()).offset(_WINDOW_POSTS).limit(1)
    )
    if first_allowed is not None:
        start = max(start, post_ids.seconds_of(first_allowed))
    window = max(moment - start, _LEAST_SECONDS)
    since = post_ids.lowest_of(int(start * 1000))
    found = authors.authors(connection, since, DAY_SECONDS / window)
    is_assumed = len(found) < _FEW
    posting = Posting(
        rates={author.account: author.posts for author in found},
        authors=[] if is_assumed else found,
        history_days=(
            _ASSUMED_HISTORY_DAYS if is_assumed else max(age, _LEAST_SECONDS) / DAY_SECONDS
        ),
        cap=stores.limits.feed_cap,
        is_assumed=is_assumed,
    )
    return posting, window


def _fill(cells: Cells, counts: Histogram, complete: int, pinned: Sequence[NamedAccount]) -> None:
    """Put every account into its cell, except the largest accounts and pinned ones."""
    posting = cells.posting
    # First add every account as if it had not posted in the window. If posts are assumed, add it
    # with its assumed rate.
    for (followers, route), accounts in counts.items():
        if followers < complete:
            cells.add(accounts, followers, posting.rate(0, followers), route)
    for each in pinned:
        if each.follower_count < complete:
            rate = posting.rate(0, each.follower_count)
            cells.add(-1, each.follower_count, rate, each.last_route)
    # Then move each author to the cell of its rate.
    pinned_ids = {each.account_id for each in pinned}
    for author in posting.authors:
        if author.followers < complete and author.account not in pinned_ids:
            cells.add(-1, author.followers, 0.0, author.last_route)
            cells.add(1, author.followers, author.posts, author.last_route)


def _draw(stores: Stores) -> list[_Drawn]:
    """Draw accounts."""
    drawn = sample.draw(stores, _FEEDS, _RUN)
    with stores.sql.reading() as connection:
        rows = connection.execute(
            sa.select(Account.id, Account.following_count).where(Account.id.in_(drawn))
        )
        follows = {row.id: row.following_count for row in rows}
    trip = RoundTrip(stores.redis)
    exist: list[Answer[int]] = [
        trip.ask("EXISTS", stores.keys.homefeed(account)) for account in drawn
    ]
    trip.run()
    return [
        _Drawn(account, follows.get(account, 0), bool(answer.value))
        for account, answer in zip(drawn, exist, strict=True)
    ]


def _readers(stores: Stores, accounts: int, window: float, drawn: Sequence[_Drawn]) -> _Readers:
    """Return the reads of the counted viewers.

    If there are few of them, drawn accounts with a home feed join them. Each of these accounts gets
    the mean number of reads, because its own were not counted. If hardly any viewers were counted,
    all accounts are assumed to read equally often.
    """
    counted = usage.sampled_reads(stores)
    if len(counted.by_viewer) < _FEW:
        sampled = sample.draw(stores, None if accounts <= _ALL_VIEWERS_UPTO else _VIEWERS, _RUN)
        reads = accounts * _ASSUMED_READS_PER_DAY
        return _Readers(reads, 0.0, dict.fromkeys(sampled, 1.0), is_assumed=True)
    seconds = _LEAST_SECONDS if window <= _LEAST_SECONDS else max(counted.seconds, 1.0)
    per_day = DAY_SECONDS / seconds
    chosen = heapq.nsmallest(_VIEWERS, counted.by_viewer, key=usage.sample_order)
    weights = {viewer: counted.by_viewer[viewer] * per_day for viewer in chosen}
    if len(chosen) < _ENOUGH_VIEWERS:
        mean = sum(weights.values()) / len(weights)
        weights |= {
            each.account: mean
            for each in drawn
            if each.has_feed and not usage.is_in_sample(each.account)
        }
    # A hash of the id chooses the counted viewers. So the margin is that of Bernoulli sampling with
    # probability 1 / `one_in`.
    squares = sum(number**2 for number in counted.by_viewer.values())
    one_in = usage.SAMPLE_ONE_IN
    return _Readers(
        reads=one_in * counted.by_viewer.total() * per_day,
        margin=Z_95 * math.sqrt(squares * one_in * (one_in - 1)) * per_day,
        weights=weights,
        is_assumed=False,
    )


def _feeds(drawn: Sequence[_Drawn], accounts: int, *, is_assumed: bool) -> _Feeds:
    """Estimate the home feeds that exist from a sample of accounts.

    If reads are assumed, all accounts read, and so all have a home feed.
    """
    if is_assumed:
        return _Feeds(accounts, 1.0 if accounts else 0.0, 0.0)
    total = sum(each.follows for each in drawn) or 1
    share = sum(each.follows for each in drawn if each.has_feed) / total
    variance = sum((each.follows * (each.has_feed - share)) ** 2 for each in drawn) / total**2
    return _Feeds(
        count=accounts * sum(each.has_feed for each in drawn) / (len(drawn) or 1),
        share=share,
        margin=0.0 if len(drawn) == accounts else Z_95 * math.sqrt(variance),
    )
