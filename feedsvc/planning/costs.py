"""What pushing and pulling cost: the formulas of `docs/evidence/threshold.md`. Pure.

The trade is that of Silberstein, Terrace, Cooper and Ramakrishnan, *Feeding Frenzy: Selectively Materializing Users' Event Feeds*
(SIGMOD 2010): a post is written into a feed, or it is looked for by every read. Costs are processor time of all parts together
(web, worker, Redis, database), in µs for one unit, and in seconds for an amount of work; whatever the work covers (a day, a run)
the answer covers too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from feedsvc.fanout.micro_batches import MAX_POSTS
from feedsvc.fanout.queues import GATHER_SECONDS
from feedsvc.paging import DEFAULT_LIMIT


@dataclass(frozen=True, kw_only=True)
class UnitCosts:
    """What one of each costs. Processor time in µs, memory in bytes."""

    # An upload, whatever becomes of it: its transaction, the celebrity list, the body.
    upload_us: float
    # A pushed post that leaves the celebrity list.
    fanout_us: float
    # A round of small fan-outs: its message and its queries. Each post in it.
    round_us: float
    small_fanout_us: float
    # A link of a large fan-out: its message and its rows, done among them.
    link_us: float
    # A follower's id, from the database into a packed command.
    follower_id_us: float
    # A push into a feed that exists, its share of trimming included; a push that finds none.
    push_us: float
    skip_us: float
    # A page of a feed without any celebrity list, HTTP apart.
    read_us: float
    # What looking for celebrities adds to a read, for each tenfold of the lists that its process holds; the first list that it merges; each
    # list, where the process holds no other, and for each tenfold; each of their entries that a page may have. Older calibrations lack two.
    look_up_us: float = 0.0
    first_list_us: float
    list_us: float
    list_tenfold_us: float = 0.0
    list_entry_us: float
    # A new celebrity post, learnt by one process that reads.
    learn_us: float
    # A feed or a celebrity list without entries; an entry.
    feed_bytes: float
    entry_bytes: float

    def share(self, part: float) -> UnitCosts:
        """So large a part of each."""
        return UnitCosts(**{field.name: getattr(self, field.name) * part for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Pushing:
    """An amount of pushing. `follower_ids`: the sum of the pushed posts' followers, with or without a feed."""

    posts: float = 0.0
    small_posts: float = 0.0
    rounds: float = 0.0
    links: float = 0.0
    follower_ids: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Pulling:
    """An amount of pulling. `lists`: the celebrity lists that all reads merge together; `entries`: of each read up to `PAGE_POSTS`.

    `look_ups` and `tenfolds`: for each read, and for each of those lists, the `tenfolds` of how many lists the process holds.
    """

    look_ups: float = 0.0
    merging_reads: float = 0.0
    lists: float = 0.0
    tenfolds: float = 0.0
    entries: float = 0.0
    posts: float = 0.0


# Processes that read, each of which learns a new celebrity post: what `up` starts. Learning is far below everything else.
READING_PROCESSES = 2

# What a read looks at of its lists: about as many entries as a page has posts. Older ones are below what it reads of the home list.
PAGE_POSTS = DEFAULT_LIMIT


_US = 1e-6


def push_seconds(costs: UnitCosts, work: Pushing, materialised_share: float) -> float:
    """Rounds, links, follower ids, and pushes, of which those to followers without a materialised feed are skipped."""
    return _US * (
        work.posts * costs.fanout_us
        + work.rounds * costs.round_us
        + work.small_posts * costs.small_fanout_us
        + work.links * costs.link_us
        + work.follower_ids * follower_us(costs, materialised_share)
    )


def pull_seconds(costs: UnitCosts, work: Pulling) -> float:
    """Reads times followed celebrities times a merged list, what looking for any and the first add to a read, and each process's upkeep."""
    return _US * (
        work.look_ups * costs.look_up_us
        + work.merging_reads * costs.first_list_us
        + work.lists * costs.list_us
        + work.tenfolds * costs.list_tenfold_us
        + work.entries * costs.list_entry_us
        + work.posts * READING_PROCESSES * costs.learn_us
    )


def tenfolds(held: float) -> float:
    """The decimal logarithm of how many lists a process holds: of the more it looks one up among, the further it is from any cache."""
    return math.log10(max(1.0, held))


def base_seconds(costs: UnitCosts, *, posts: float, reads: float) -> float:
    """What uploads and reads cost under any threshold."""
    return _US * (posts * costs.upload_us + reads * costs.read_us)


def follower_us(costs: UnitCosts, materialised_share: float) -> float:
    """What one follower of a pushed post costs."""
    return (
        costs.follower_id_us
        + materialised_share * costs.push_us
        + (1 - materialised_share) * costs.skip_us
    )


def list_bytes(costs: UnitCosts, lists: float, entries: float) -> float:
    """Memory of so many feeds or celebrity lists, which hold so many entries together."""
    return lists * costs.feed_bytes + entries * costs.entry_bytes


@dataclass(frozen=True, kw_only=True)
class Batches:
    """In what steps fan-outs work (`FEEDSVC_FANOUT_BATCH`, `FEEDSVC_FANOUT_SLICE`)."""

    batch: int
    small: int

    def links(self, followers: float) -> int:
        """The links of a fan-out to so many followers; none if it is small and goes in a round."""
        return 0 if followers <= self.small else math.ceil(followers / self.batch)


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Jobs (links and rounds) that wait for workers: M/G/1, each worker with its share of the jobs.

    The mean wait is Pollaczek's and Khinchine's, rate · E[s²] / 2(1 - utilisation) (Kleinrock, *Queueing Systems* I, 1975, 5.6).
    Workers that share one queue wait less than this: it is a bound.
    """

    # Per second of one worker: the seconds of its jobs, and their seconds squared.
    seconds: float = 0.0
    squares: float = 0.0

    @property
    def utilisation(self) -> float:
        """The share of its time that a worker is busy; from 1 on the queue only grows."""
        return self.seconds

    @property
    def wait_seconds(self) -> float:
        """The mean wait of a job; infinite from a utilisation of 1 on."""
        return self.squares / (2 * (1 - self.seconds)) if self.seconds < 1 else math.inf


def seconds_to_last_follower(
    costs: UnitCosts, followers: float, materialised_share: float, batches: Batches, queue: Queue
) -> float:
    """From the upload to the last push, on average: each link of the chain waits, and works. Infinite if the workers cannot keep up.

    Links of one post run one after the other here. Lanes share a large account's links among workers, so it is a bound; so is the
    wait for a round, of the post that asks for it.
    """
    links = batches.links(followers)
    jobs = max(1, links)
    own = 0.0 if links else GATHER_SECONDS + _US * costs.round_us
    return own + jobs * (
        queue.wait_seconds + job_seconds(costs, followers, materialised_share, batches)
    )


def job_seconds(
    costs: UnitCosts, followers: float, materialised_share: float, batches: Batches
) -> float:
    """What one link of a fan-out to so many followers takes, or its part of a round. The parts overlap in time: a bound."""
    links = batches.links(followers)
    own = costs.small_fanout_us if links == 0 else costs.link_us
    jobs = max(1, links)
    return _US * (
        own + (costs.fanout_us + followers * follower_us(costs, materialised_share)) / jobs
    )


def posts_a_round(
    costs: UnitCosts, workers: int, posts_per_second: float, seconds_each: float
) -> float:
    """How many small fan-outs a round takes, where so many are uploaded a second, and each adds so many seconds.

    The post that asks for it, and what is uploaded while it waits; or, where that is more, what was uploaded for one worker while the
    round before it ran: n = rate · (round + n · each). At most what it claims.
    """
    gathered = 1.0 + posts_per_second * GATHER_SECONDS
    of_a_worker = posts_per_second / workers
    share = 1 - of_a_worker * seconds_each
    waiting = of_a_worker * costs.round_us * _US / share if share > 0 else MAX_POSTS
    return min(MAX_POSTS, max(gathered, waiting))
