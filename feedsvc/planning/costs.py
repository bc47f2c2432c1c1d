"""The cost of pushing and pulling: the formulas of `docs/evidence/threshold.md`. Pure.

The trade-off is from Silberstein, Terrace, Cooper and Ramakrishnan, *Feeding Frenzy: Selectively
Materializing Users' Event Feeds* (SIGMOD 2010): either an upload writes its post into a feed, or
every read of that feed merges the post. Costs are the processor time of web processes, workers,
Redis and the database together. A unit cost is in µs. An amount of work is counted over a period (a
day, or a replay), and its cost is in seconds for that period.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from feedsvc.fanout.micro_batches import MAX_POSTS
from feedsvc.fanout.queues import GATHER_SECONDS

# The memory of a feed or a celebrity list without entries, and of one entry, as `MEMORY USAGE` of
# Valkey 9 and Redis 7 tells them.
FEED_BYTES, ENTRY_BYTES = 80.0, 10.2

# The form of `list_units`, chosen for its errors on graphs that it was not fitted to.
_POWER = 0.75

_US = 1e-6


@dataclass(frozen=True, kw_only=True)
class UnitCosts:
    """The cost of one unit of each kind of work, in µs of processor time of all parts."""

    # An upload on either route: its transaction, its celebrity list, its body.
    upload_us: float
    # The message of a pushed post, and its take-off from its celebrity list.
    message_us: float
    take_off_us: float
    # A micro-batch, and each post in it.
    micro_batch_us: float
    small_post_us: float
    # A link of a large fan-out.
    link_us: float
    # A follower's id, from the database into a packed command.
    follower_us: float
    # A push into a feed that exists, with its share of trimming, and a push that finds no feed.
    push_us: float
    skip_us: float
    # A page of a feed, without its celebrity lists and without HTTP.
    read_us: float
    # Finding the celebrity lists of a page, if the process caches any.
    look_up_us: float
    # The first list that a page merges, and each unit of `list_units`.
    first_list_us: float
    list_us: float
    # A page that has to fetch lists, and each list that it fetches.
    fetch_us: float
    fetched_list_us: float
    # A new post, learnt by one process that reads.
    learn_us: float

    def share(self, part: float) -> UnitCosts:
        """Return every unit cost multiplied by `part`."""
        return UnitCosts(**{field.name: getattr(self, field.name) * part for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Pushing:
    """An amount of pushing."""

    # All pushed posts, `small_posts` included.
    posts: float = 0.0
    # Posts that join micro-batches.
    small_posts: float = 0.0
    micro_batches: float = 0.0
    # Links of large fan-outs.
    links: float = 0.0
    # The sum of the followers of all pushed posts, with and without a materialised feed.
    follower_ids: float = 0.0
    # Reads that find out that a list is empty again, because its posts have been pushed.
    empty_fetches: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Pulling:
    """An amount of pulling."""

    # Reads by a process that caches any list.
    look_ups: float = 0.0
    # Reads that merge at least one celebrity list.
    merging_reads: float = 0.0
    # The sum of `list_units` over all reads.
    list_units: float = 0.0
    # Reads that have to fetch lists, and the lists that they fetch.
    fetches: float = 0.0
    fetched_lists: float = 0.0


def list_units(lists: float, cached: float) -> float:
    """Return the work of merging a number of lists, by a process that caches `cached` lists.

    It grows more slowly than the number of lists, and stops growing at √`cached`. If a viewer
    follows many of the cached lists, its page is full before all of these lists are open. A list
    among more cached lists costs more, because fewer of them are in the processor's caches.
    """
    if cached <= 0:
        return 0.0
    opened = min(lists, math.sqrt(cached))
    return float(opened**_POWER * (1 + math.log10(max(1.0, cached))))


def push_seconds(costs: UnitCosts, work: Pushing, materialised_share: float) -> float:
    """Return the cost of pushing: posts, micro-batches, links, and followers with their pushes.

    A push to a follower without a materialised feed is skipped and costs less.
    """
    return _US * (
        work.posts * (costs.message_us + costs.take_off_us)
        + work.micro_batches * costs.micro_batch_us
        + work.small_posts * costs.small_post_us
        + work.links * costs.link_us
        + work.follower_ids * follower_us(costs, materialised_share)
        + work.empty_fetches * (costs.fetch_us + costs.fetched_list_us)
    )


def pull_seconds(costs: UnitCosts, work: Pulling) -> float:
    """Return the cost of pulling: find lists, merge them, and fetch those that are not cached."""
    return _US * (
        work.look_ups * costs.look_up_us
        + work.merging_reads * costs.first_list_us
        + work.list_units * costs.list_us
        + work.fetches * costs.fetch_us
        + work.fetched_lists * costs.fetched_list_us
    )


def base_seconds(costs: UnitCosts, *, posts: float, reads: float, processes: float) -> float:
    """Return the cost of uploads and reads that no threshold changes.

    Each of the `processes` that read learns every post, because each post is on its author's list
    at first.
    """
    return _US * (posts * (costs.upload_us + processes * costs.learn_us) + reads * costs.read_us)


def follower_us(costs: UnitCosts, materialised_share: float) -> float:
    """Return the mean cost of one follower of a pushed post, in µs."""
    return (
        costs.follower_us
        + materialised_share * costs.push_us
        + (1 - materialised_share) * costs.skip_us
    )


def list_bytes(lists: float, entries: float) -> float:
    """Return the memory in Redis of a number of feeds or celebrity lists with their entries."""
    return lists * FEED_BYTES + entries * ENTRY_BYTES


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The steps of a fan-out (`FEEDSVC_FANOUT_BATCH`, `FEEDSVC_FANOUT_SLICE`), in followers."""

    batch: int
    small: int

    def links(self, followers: float) -> int:
        """Return the number of links of a fan-out; 0 if it is small and joins a micro-batch."""
        return 0 if followers <= self.small else math.ceil(followers / self.batch)


def wait_seconds(busy: float, squares: float) -> float:
    """Return the mean time that a link or a micro-batch waits for a worker (M/G/1).

    In one second, the jobs of one worker take `busy` seconds together, and `squares` is the sum of
    the squares of their seconds. Each worker has an equal share of all jobs. The result is infinite
    if `busy` is at least 1, because the queue then grows without end.

    The mean wait is Pollaczek's and Khinchine's, rate · E[s²] / 2(1 - utilisation) (Kleinrock,
    *Queueing Systems* I, 1975, 5.6). Workers that share one queue wait less, so it is a bound.
    """
    return squares / (2 * (1 - busy)) if busy < 1 else math.inf


def seconds_to_last_follower(
    costs: UnitCosts, followers: float, materialised_share: float, batches: Batches, wait: float
) -> float:
    """Return the mean time from an upload to its last push, if each job waits `wait` seconds.

    The result is a bound. Lanes share the links of a large account among workers, while the formula
    runs them one after the other. For a small account, the formula describes the post that requests
    the micro-batch. Later posts of the micro-batch wait less. The result is infinite if `wait` is.
    """
    links = batches.links(followers)
    own = 0.0 if links else GATHER_SECONDS + _US * costs.micro_batch_us
    job = job_seconds(costs, followers, materialised_share, batches)
    return own + max(1, links) * (wait + job)


def job_seconds(
    costs: UnitCosts, followers: float, materialised_share: float, batches: Batches
) -> float:
    """Return the time of one link of a large fan-out, or of a small fan-out in its micro-batch.

    The result is a bound: some of the work runs in parallel on several processors.
    """
    links = batches.links(followers)
    own = costs.small_post_us if links == 0 else costs.link_us
    return _US * (own + followers * follower_us(costs, materialised_share) / max(1, links))


def posts_per_micro_batch(
    costs: UnitCosts, workers: int, posts_per_second: float, seconds_each: float
) -> float:
    """Return how many small fan-outs a micro-batch delivers: the larger of two counts.

    `posts_per_second` counts small posts. Each of them adds `seconds_each` to its micro-batch.
    The first count is 1 plus the posts that arrive in `GATHER_SECONDS`. The second count, n, is the
    posts that arrive for one worker while the micro-batch before runs:
    n = rate · (own + n · seconds_each). `rate` is the small posts per second and worker, and `own`
    is `micro_batch_us` in seconds. The result is at most `MAX_POSTS`.
    """
    gathered = 1.0 + posts_per_second * GATHER_SECONDS
    rate = posts_per_second / workers
    idle = 1 - rate * seconds_each
    arrived = rate * costs.micro_batch_us * _US / idle if idle > 0 else MAX_POSTS
    return min(MAX_POSTS, max(gathered, arrived))
