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
from feedsvc.planning.costs import ENTRY_BYTES, Pulling, Pushing
from feedsvc.planning.survey.aggregates import DAY_SECONDS, Cell, ListsAt, interpolate

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.planning.near_cache import CachedLists
    from feedsvc.planning.situation import Group, Lines, Situation

_Work = TypeVar("_Work", Pushing, Pulling)


class Estimate(NamedTuple):
    """A value and the half-width of its 95 % interval.

    Both are infinite if a queue grows without end. The margin alone is infinite if the queue does
    so only with unit costs at the upper end of their interval.
    """

    value: float
    margin: float


@dataclass(frozen=True)
class Prediction:
    """The effect of a pair of thresholds. Rates are per day.

    Feeds and lists have settled after the change.
    """

    situation: Situation
    lines: Lines

    @cached_property
    def groups(self) -> list[tuple[Group, float]]:
        """Return every group, with the share of its accounts that is pulled."""
        at = self.situation
        return [(group, at.pulled_share(group, self.lines)) for group in at.groups]

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
        return self.situation.pulling(self.lists, self.cached_lists)

    @cached_property
    def cached_lists(self) -> CachedLists:
        """Return the lists that a process holds in its near cache, and those that it misses."""
        return self.situation.cached_lists(self.groups)

    @cached_property
    def lists(self) -> ListsAt:
        """Return how many lists a read merges, and how many ids a feed has."""
        survey = self.situation.survey
        # The followers of the accounts between the thresholds, and of the pulled ones among them.
        between = pulled = 0.0
        for group, share in self.groups:
            if not group.pin:
                above, part = self.lines.shares(group.cell)
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


def _difference(one: _Work, other: _Work) -> _Work:
    return type(one)(
        **{name: abs(value - getattr(other, name)) for name, value in vars(one).items()}
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
