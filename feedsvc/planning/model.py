"""The cost model: predict the effect of a pair of thresholds, from a survey and unit costs. Pure.

Every figure has a margin, the half-width of its 95 % interval. The margin joins the uncertainty of
the survey's samples with that of the unit costs, as the root of the sum of squares. A cost is a
weighted sum of unit costs. Their margins, summed with the same weights, bound its error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from feedsvc.planning import costs as formulas
from feedsvc.planning import near_cache
from feedsvc.planning.costs import ENTRY_BYTES, Batches, Pulling, Pushing, UnitCosts
from feedsvc.planning.near_cache import CachedLists, Lists
from feedsvc.planning.survey.aggregates import DAY_SECONDS, Cell, ListsAt, Survey, interpolate

if TYPE_CHECKING:
    from collections.abc import Callable

_Work = TypeVar("_Work", Pushing, Pulling)


@dataclass(frozen=True)
class Lines:
    """A pair of thresholds.

    An account is pulled from `promote_at` followers on, and pushed below `demote_at`. Between the
    two it keeps its route.
    """

    promote_at: int
    demote_at: int


class Estimate(NamedTuple):
    """A value and the half-width of its 95 % interval.

    Both are infinite if a queue grows without end. The margin alone is infinite if the queue does
    so only with unit costs at the upper end of their interval.
    """

    value: float
    margin: float


class Group(NamedTuple):
    """A cell, or one named account as a cell, with the work of pushing all its posts of a day.

    `links` counts the links of one post; 0 if it joins a micro-batch. `jobs` counts the links of a
    day, or the posts of a day that join micro-batches. `job_seconds` is the time of one job.
    """

    cell: Cell
    pin: str | None
    links: float
    jobs: float
    job_seconds: float

    @property
    def small_posts(self) -> float:
        """Return the posts a day that join micro-batches."""
        return 0.0 if self.links else self.cell.posts


@dataclass(frozen=True)
class Processes:
    """The processes that fan out, those that read, and the bytes of each reader's near cache."""

    working: int
    reading: int
    near_cache_bytes: int


@dataclass(frozen=True)
class Situation:
    """Everything that a prediction needs except the proposed thresholds."""

    survey: Survey
    costs: UnitCosts
    margins: UnitCosts
    processes: Processes
    batches: Batches
    today: Lines

    def group(self, cell: Cell, pin: str | None = None) -> Group:
        """Return a cell, or the cell of a named account, with the work of its posts."""
        followers = cell.follower_ids / cell.posts if cell.posts else 0.0
        links = self.batches.links(followers)
        share = self.survey.materialised_share
        seconds = formulas.job_seconds(self.costs, followers, share, self.batches)
        return Group(cell, pin, links, cell.posts * max(1, links), seconds)

    @cached_property
    def groups(self) -> list[Group]:
        """Return all accounts, each in one group."""
        singles = (self.group(named.cell(), named.pin) for named in self.survey.singles())
        return [*map(self.group, self.survey.cells), *singles]

    @cached_property
    def seconds_per_merged_list(self) -> float:
        """Return the mean cost of merging a list if every account is pulled."""
        lists = self.survey.reads * self.survey.lists[0].mean
        return self.predict(Lines(1, 1)).pull_seconds.value / lists if lists else 0.0

    @cached_property
    def reads_per_follow(self) -> float:
        """Return how often a day the mean follower of an author reads.

        If every account were pulled, a read would merge one list for each author that the viewer
        follows. So the result is the number of these merges over the number of follows of authors.
        """
        cells = [group.cell for group in self.groups]
        follows = sum(cell.followers * cell.posted / cell.accounts for cell in cells)
        return self.survey.reads * self.survey.lists[0].mean / follows if follows else 0.0

    @cached_property
    def posts_per_micro_batch(self) -> float:
        """Return how many small fan-outs a micro-batch delivers if every small post is pushed.

        One figure serves all thresholds. It is right for thresholds above `FEEDSVC_FANOUT_SLICE`,
        because they push every small post. It is too high for lower thresholds.
        """
        posts = sum(group.small_posts for group in self.groups)
        busy = sum(group.small_posts * group.job_seconds for group in self.groups)
        return formulas.posts_per_micro_batch(
            self.costs, self.processes.working, posts / DAY_SECONDS, busy / posts if posts else 0.0
        )

    def empty_fetches(self, group: Group) -> float:
        """Return how many reads a day find a list empty again if the group's posts are pushed.

        Every process that reads learns of a post, and knows the author as one with a list. The
        first read of a follower in that process, after the post was pushed, finds an empty list.
        If each of n processes serves r ÷ n reads of followers between two posts, n · (1 - e^(-r/n))
        of them have such a read.
        """
        cell, processes = group.cell, self.processes.reading
        if not cell.posts:
            return 0.0
        reads = self.reads_per_follow * cell.follower_ids / cell.posts
        reads_per_post = reads * cell.posted / cell.posts
        return cell.posts * processes * -math.expm1(-reads_per_post / processes)

    def pulled_share(self, group: Group, lines: Lines) -> float:
        """Return the share of a group's accounts that a pair of thresholds pulls.

        Accounts between the thresholds keep the route that they have today.
        """
        cell = group.cell
        if group.pin:
            return float(group.pin == "pull")
        above, between = _shares(cell, lines)
        if not between:
            return above
        above_today, between_today = _shares(cell, self.today)
        pulled = cell.pulled / cell.posted if cell.posted else 0.0
        return above + between * (above_today + between_today * pulled)

    def predict(self, lines: Lines) -> Prediction:
        """Predict the effect of a pair of thresholds, once feeds and lists have settled."""
        return Prediction(
            self, lines, [(group, self.pulled_share(group, lines)) for group in self.groups]
        )


@dataclass(frozen=True)
class Prediction:
    """The effect of a pair of thresholds. Rates are per day.

    `groups`: every group, with the share of its accounts that is pulled.
    """

    situation: Situation
    lines: Lines
    groups: list[tuple[Group, float]]

    @cached_property
    def pushing(self) -> Pushing:
        """Return the amount of pushing."""
        at, pushed = self.situation, [(group, 1 - pulled) for group, pulled in self.groups]
        small_posts = sum(share * group.small_posts for group, share in pushed)
        return Pushing(
            posts=sum(share * group.cell.posts for group, share in pushed),
            small_posts=small_posts,
            micro_batches=small_posts / at.posts_per_micro_batch,
            links=sum(share * group.cell.posts * group.links for group, share in pushed),
            follower_ids=sum(share * group.cell.follower_ids for group, share in pushed),
            empty_fetches=sum(share * at.empty_fetches(group) for group, share in pushed),
        )

    @cached_property
    def pulling(self) -> Pulling:
        """Return the amount of pulling."""
        reads, lists, cached = self.situation.survey.reads, self.lists, self.cached_lists.lists
        missed = self.cached_lists.missed_share
        return Pulling(
            look_ups=reads if cached else 0.0,
            merging_reads=reads * (1 - lists.shares[0]),
            list_units=reads * lists.mean_of(lambda count: formulas.list_units(count, cached)),
            fetches=reads * lists.mean_of(lambda count: 1 - (1 - missed) ** count),
            fetched_lists=reads * lists.mean * missed,
        )

    @cached_property
    def cached_lists(self) -> CachedLists:
        """Return the lists that a process holds in its near cache, and those that it misses."""
        lists = (
            Lists(
                share * group.cell.posted,
                group.cell.entries / group.cell.posted,
                group.cell.followers / group.cell.accounts,
            )
            for group, share in self.groups
            if group.cell.posted
        )
        return near_cache.cached_lists(lists, self.situation.processes.near_cache_bytes)

    @cached_property
    def lists(self) -> ListsAt:
        """Return how many lists a read merges, and how many ids a feed has."""
        survey = self.situation.survey
        # The followers of the accounts between the thresholds, and of the pulled ones among them.
        between = pulled = 0.0
        for group, share in self.groups:
            if not group.pin:
                above, part = _shares(group.cell, self.lines)
                between += part * group.cell.followers
                pulled += (share - above) * group.cell.followers
        lists = survey.lists_at(self.lines.promote_at)
        if not pulled:
            return lists
        return interpolate(lists, survey.lists_at(self.lines.demote_at), pulled / between)

    @cached_property
    def pulled_lists(self) -> float:
        """Return the number of celebrity lists that stay: one for each pulled author."""
        return self.pulled(lambda cell: cell.posted)

    def pulled(self, amount: Callable[[Cell], float]) -> float:
        """Return the sum of an amount over all pulled accounts."""
        return sum(share * amount(group.cell) for group, share in self.groups)

    @property
    def deliveries(self) -> Estimate:
        """Return the pushes into feeds that exist."""
        survey, ids = self.situation.survey, self.pushing.follower_ids
        return Estimate(ids * survey.materialised_share, ids * survey.materialised_margin)

    @property
    def push_seconds(self) -> Estimate:
        """Return the processor seconds of pushing."""
        at, work = self.situation, self.pushing
        share = at.survey.materialised_share
        sampled = self.deliveries.margin * abs(at.costs.push_us - at.costs.skip_us) / 1e6
        learnt = formulas.push_seconds(at.margins, work, share)
        return Estimate(formulas.push_seconds(at.costs, work, share), math.hypot(sampled, learnt))

    @property
    def pull_seconds(self) -> Estimate:
        """Return the processor seconds of pulling."""
        at, lists, work = self.situation, self.lists, self.pulling
        seconds = formulas.pull_seconds(at.costs, work)
        sampled = seconds * math.hypot(
            _ratio(lists.mean_margin, lists.mean), _ratio(at.survey.reads_margin, at.survey.reads)
        )
        return Estimate(seconds, math.hypot(sampled, formulas.pull_seconds(at.margins, work)))

    @property
    def base_seconds(self) -> Estimate:
        """Return the processor seconds of uploads and reads that no threshold changes."""
        at, survey = self.situation, self.situation.survey
        seconds, learnt = (
            formulas.base_seconds(
                costs, posts=survey.posts, reads=survey.reads, processes=at.processes.reading
            )
            for costs in (at.costs, at.margins)
        )
        sampled = survey.reads_margin * at.costs.read_us / 1e6
        return Estimate(seconds, math.hypot(sampled, learnt))

    @property
    def total_seconds(self) -> Estimate:
        """Return the processor seconds of everything."""
        parts = (self.push_seconds, self.pull_seconds, self.base_seconds)
        return Estimate(
            sum(part.value for part in parts), math.hypot(*(part.margin for part in parts))
        )

    @property
    def redis_bytes(self) -> Estimate:
        """Return the memory of feeds and celebrity lists.

        No threshold changes the rest of Redis's memory (posts, relations …).
        """
        at, feeds = self.situation, self.situation.survey.materialised_feeds
        lists = feeds + self.pulled_lists
        entries = feeds * self.lists.feed_entries + self.pulled(lambda cell: cell.entries)
        memory = formulas.list_bytes(lists, entries)
        return Estimate(
            memory, memory * _ratio(at.survey.materialised_margin, at.survey.materialised_share)
        )

    @property
    def redis_bytes_per_day(self) -> Estimate:
        """Return the bytes of entries written into feeds and celebrity lists."""
        written = self.deliveries.value + self.pulled(lambda cell: cell.posts)
        return Estimate(written * ENTRY_BYTES, self.deliveries.margin * ENTRY_BYTES)

    @cached_property
    def seconds_to_last_follower(self) -> Estimate:
        """Return the mean time from an upload to its last push, of the largest pushed account."""
        push = self.push_seconds
        expected = self._to_last_follower(1.0)
        at_worst = self._to_last_follower(1.0 + _ratio(push.margin, push.value))
        return Estimate(expected, at_worst - expected if math.isfinite(at_worst) else math.inf)

    def _to_last_follower(self, slower: float) -> float:
        """Return the mean time to the last follower, with all unit costs multiplied by `slower`."""
        at, largest = self.situation, 0
        round_seconds = at.costs.micro_batch_us / 1e6
        # The seconds of all jobs of a day, and the sum of their squares.
        busy = squares = 0.0
        for group, pulled in self.groups:
            jobs, cell = (1 - pulled) * group.jobs, group.cell
            busy += jobs * group.job_seconds
            squares += jobs * group.job_seconds**2
            if jobs:
                # A cell of one account has exactly `low` followers. In a cell that is pulled in
                # part, the largest pushed account is below `promote_at`, but still in the cell.
                is_whole = cell.accounts == 1 or pulled == 0
                limit = cell.high if is_whole else max(self.lines.promote_at, cell.low + 1)
                largest = max(largest, min(cell.high, limit) - 1)
        if not largest:
            return 0.0
        busy += self.pushing.micro_batches * round_seconds
        squares += self.pushing.micro_batches * round_seconds**2
        per_second = slower / (DAY_SECONDS * at.processes.working)
        wait = formulas.wait_seconds(per_second * busy, per_second * slower * squares)
        share = at.survey.materialised_share
        return formulas.seconds_to_last_follower(
            at.costs.share(slower), largest, share, at.batches, wait
        )


def saving(of: Prediction, over: Prediction) -> Estimate:
    """Return the processor seconds a day that one prediction saves over another.

    Work common to both cancels out. So the margin includes only the uncertainty of the work in
    which they differ.
    """
    at = of.situation
    share = at.survey.materialised_share
    pushing = _difference(of.pushing, over.pushing)
    pulling = _difference(of.pulling, over.pulling)
    saved = (over.push_seconds.value + over.pull_seconds.value) - (
        of.push_seconds.value + of.pull_seconds.value
    )
    listed = _ratio(
        max(of.lists.mean_margin, over.lists.mean_margin), max(of.lists.mean, over.lists.mean)
    )
    read = _ratio(at.survey.reads_margin, at.survey.reads)
    pushed = pushing.follower_ids * abs(at.costs.push_us - at.costs.skip_us) / 1e6
    margin = math.hypot(
        formulas.pull_seconds(at.costs, pulling) * math.hypot(listed, read),
        pushed * at.survey.materialised_margin,
        formulas.push_seconds(at.margins, pushing, share),
        formulas.pull_seconds(at.margins, pulling),
    )
    return Estimate(saved, margin)


def _shares(cell: Cell, lines: Lines) -> tuple[float, float]:
    """Return the shares of a cell's accounts above both thresholds, and between the two."""
    above = cell.share_from(lines.promote_at)
    return above, cell.share_from(lines.demote_at) - above


def _difference(one: _Work, other: _Work) -> _Work:
    return type(one)(
        **{name: abs(value - getattr(other, name)) for name, value in vars(one).items()}
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
