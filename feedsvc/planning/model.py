"""What a pair of lines would do: the formulas of `costs` over the aggregates of `inputs`. Pure.

Every figure has a margin, the half-width of a 95 % interval: what sampling left open, and what calibration did. Costs are sums of
unit costs, so the same sums over the unit costs' margins bound what calibration can be wrong by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

from feedsvc.planning import costs as formulas
from feedsvc.planning.costs import Batches, Pulling, Pushing, Queue, UnitCosts
from feedsvc.planning.survey.aggregates import (
    DAY_SECONDS,
    Cell,
    ListsAt,
    NamedAccount,
    Survey,
    mixed,
)

_Work = TypeVar("_Work", Pushing, Pulling)


@dataclass(frozen=True)
class Lines:
    """From `promote_at` followers on an account is pulled, below `demote_at` it is pushed, between it keeps its route."""

    promote_at: int
    demote_at: int


class Estimate(NamedTuple):
    """A value, and the half-width of its 95 % interval; both are infinite where a queue only grows."""

    value: float
    margin: float


class Group(NamedTuple):
    """A cell, or an account by name; and what its posts cause if they are pushed, per day."""

    cell: Cell
    pin: str | None
    links: float
    jobs: float
    job_seconds: float

    @property
    def small_posts(self) -> float:
        """Posts that go in rounds."""
        return 0.0 if self.links else self.cell.posts


@dataclass(frozen=True)
class Situation:
    """Everything that a prediction needs but the lines: what was found out, what things cost, and the lines of today."""

    inputs: Survey
    costs: UnitCosts
    margins: UnitCosts
    workers: int
    batches: Batches
    today: Lines

    @cached_property
    def groups(self) -> list[Group]:
        """All accounts."""
        return [self._group(cell, None) for cell in self.inputs.cells] + list(
            map(self.group, self.inputs.singles())
        )

    @cached_property
    def authors(self) -> int:
        """How many accounts have ever posted."""
        return sum(group.cell.posted for group in self.groups)

    def group(self, named: NamedAccount) -> Group:
        """A group of one."""
        return self._group(named.cell(), named.pin)

    @cached_property
    def posts_a_round(self) -> float:
        """How many small fan-outs go in a round, if all are pushed that are small: under any threshold nearly all are."""
        small = [group for group in self.groups if group.small_posts]
        posts = sum(group.small_posts for group in small)
        busy = sum(group.small_posts * group.job_seconds for group in small)
        return formulas.posts_a_round(
            self.costs, self.workers, posts / DAY_SECONDS, busy / posts if posts else 0.0
        )

    def pulled_share(self, group: Group, lines: Lines) -> float:
        """The share of these accounts that the lines pull. Those between them keep the route that they have today."""
        cell = group.cell
        if group.pin:
            return float(group.pin == "pull")
        above = cell.share_from(lines.promote_at)
        between = cell.share_from(lines.demote_at) - above
        return above + between * self.pulled_today(cell) if between else above

    def pulled_today(self, cell: Cell) -> float:
        """The share of these accounts that today's lines pull."""
        above = cell.share_from(self.today.promote_at)
        between = cell.share_from(self.today.demote_at) - above
        return above + between * (cell.pulled / cell.posted if cell.posted else 0.0)

    def predict(self, lines: Lines) -> Prediction:
        """What these lines would do in the long run."""
        found = Prediction(self, lines, _Sums(self.posts_a_round))
        for group in self.groups:
            found.sums.add(
                group,
                self.pulled_share(group, lines),
                group.cell.share_from(lines.demote_at),
                lines,
            )
        return found

    def _group(self, cell: Cell, pin: str | None) -> Group:
        followers = cell.follower_ids / cell.posts if cell.posts else 0.0
        links = self.batches.links(followers)
        seconds = formulas.job_seconds(
            self.costs, followers, self.inputs.materialised_share, self.batches
        )
        return Group(cell, pin, links, cell.posts * max(1, links), seconds)


@dataclass
class _Sums:
    """What is pushed and what is pulled, over all accounts, per day."""

    posts_a_round: float
    posts: float = 0.0
    small_posts: float = 0.0
    links: float = 0.0
    follower_ids: float = 0.0
    busy: float = 0.0
    squares: float = 0.0
    largest_pushed: float = 0.0
    pulled_accounts: float = 0.0
    pulled_posts: float = 0.0
    pulled_lists: float = 0.0
    pulled_entries: float = 0.0
    # Followers of the accounts between the lines, and of those among them that are pulled.
    between: float = 0.0
    between_pulled: float = 0.0

    def add(self, group: Group, pulled: float, from_demote: float, lines: Lines) -> None:
        """Add these accounts, of which a share is pulled."""
        cell, pushed = group.cell, 1 - pulled
        if pushed and cell.posts:
            self._push(group, pushed)
            top = (
                cell.high - 1
                if cell.accounts == 1 or pulled == 0
                else min(cell.high, max(lines.promote_at, cell.low + 1)) - 1
            )
            self.largest_pushed = max(self.largest_pushed, top)
        if pulled:
            self.pulled_accounts += pulled * cell.accounts
            self.pulled_posts += pulled * cell.posts
            self.pulled_lists += pulled * cell.posted
            self.pulled_entries += pulled * cell.entries
        if from_demote and not group.pin:
            above = cell.share_from(lines.promote_at)
            self.between += (from_demote - above) * cell.followers
            self.between_pulled += (pulled - above) * cell.followers

    def _push(self, group: Group, share: float) -> None:
        posts = share * group.cell.posts
        self.posts += posts
        self.small_posts += share * group.small_posts
        self.links += posts * group.links
        self.follower_ids += share * group.cell.follower_ids
        self.busy += share * group.jobs * group.job_seconds
        self.squares += share * group.jobs * group.job_seconds**2


@dataclass(frozen=True)
class Prediction:
    """What a pair of lines does, per day where it is a rate."""

    situation: Situation
    lines: Lines
    sums: _Sums

    @property
    def pushing(self) -> Pushing:
        """The pushing."""
        sums = self.sums
        rounds = sums.small_posts / sums.posts_a_round
        return Pushing(
            posts=sums.posts,
            small_posts=sums.small_posts,
            rounds=rounds,
            links=sums.links,
            follower_ids=sums.follower_ids,
        )

    @cached_property
    def lists(self) -> ListsAt:
        """What a read merges and a feed holds."""
        inputs, sums = self.situation.inputs, self.sums
        lists = inputs.lists_at(self.lines.promote_at)
        if not sums.between_pulled:
            return lists
        return mixed(
            lists, inputs.lists_at(self.lines.demote_at), sums.between_pulled / sums.between
        )

    @property
    def pulling(self) -> Pulling:
        """The pulling."""
        reads, lists, tenfolds = (
            self.situation.inputs.reads,
            self.lists,
            formulas.tenfolds(self.sums.pulled_lists),
        )
        return Pulling(
            look_ups=reads * tenfolds,
            merging_reads=reads * lists.merging,
            lists=reads * lists.mean,
            tenfolds=reads * lists.mean * tenfolds,
            entries=reads * lists.entries,
            posts=self.sums.pulled_posts,
        )

    @property
    def deliveries(self) -> Estimate:
        """Pushes into feeds that exist."""
        inputs = self.situation.inputs
        return Estimate(
            self.sums.follower_ids * inputs.materialised_share,
            self.sums.follower_ids * inputs.materialised_margin,
        )

    @property
    def push_seconds(self) -> Estimate:
        """Processor seconds of pushing."""
        at, share = self.situation, self.situation.inputs.materialised_share
        sampled = self.deliveries.margin * abs(at.costs.push_us - at.costs.skip_us) / 1e6
        calibrated = formulas.push_seconds(at.margins, self.pushing, share)
        return Estimate(
            formulas.push_seconds(at.costs, self.pushing, share), math.hypot(sampled, calibrated)
        )

    @property
    def pull_seconds(self) -> Estimate:
        """Processor seconds of pulling."""
        at, lists = self.situation, self.lists
        seconds = formulas.pull_seconds(at.costs, self.pulling)
        sampled = seconds * math.hypot(
            _ratio(lists.mean_margin, lists.mean), _ratio(at.inputs.reads_margin, at.inputs.reads)
        )
        return Estimate(
            seconds, math.hypot(sampled, formulas.pull_seconds(at.margins, self.pulling))
        )

    @property
    def base_seconds(self) -> Estimate:
        """Processor seconds of uploads and reads that no threshold changes."""
        at, inputs = self.situation, self.situation.inputs
        sampled = inputs.reads_margin * at.costs.read_us / 1e6
        calibrated = formulas.base_seconds(at.margins, posts=inputs.posts, reads=inputs.reads)
        return Estimate(
            formulas.base_seconds(at.costs, posts=inputs.posts, reads=inputs.reads),
            math.hypot(sampled, calibrated),
        )

    @property
    def total_seconds(self) -> Estimate:
        """Processor seconds of everything."""
        parts = (self.push_seconds, self.pull_seconds, self.base_seconds)
        return Estimate(
            sum(part.value for part in parts), math.hypot(*(part.margin for part in parts))
        )

    @property
    def redis_bytes(self) -> Estimate:
        """Memory of feeds and celebrity lists; posts, relations and the rest are the same under any threshold."""
        at, feeds = self.situation, self.situation.inputs.materialised_feeds
        lists = feeds + self.sums.pulled_lists
        entries = feeds * self.lists.feed_entries + self.sums.pulled_entries
        sampled = _ratio(at.inputs.materialised_margin, at.inputs.materialised_share)
        held = formulas.list_bytes(at.costs, lists, entries)
        return Estimate(
            held, math.hypot(held * sampled, formulas.list_bytes(at.margins, lists, entries))
        )

    @property
    def redis_bytes_per_day(self) -> Estimate:
        """Bytes of entries written into feeds and celebrity lists."""
        at, deliveries = self.situation, self.deliveries
        written = deliveries.value + self.sums.pulled_posts
        margin = math.hypot(
            deliveries.margin * at.costs.entry_bytes, written * at.margins.entry_bytes
        )
        return Estimate(written * at.costs.entry_bytes, margin)

    @property
    def seconds_to_last_follower(self) -> Estimate:
        """Upload to last push of the largest account that is pushed, on average."""
        expected, at_worst = (
            self._to_last_follower(1.0),
            self._to_last_follower(1.0 + self._job_error()),
        )
        return Estimate(expected, at_worst - expected if math.isfinite(at_worst) else math.inf)

    def _to_last_follower(self, slower: float) -> float:
        if not self.sums.largest_pushed:
            return 0.0
        at, sums = self.situation, self.sums
        per_second = slower / (DAY_SECONDS * at.workers)
        rounds, round_seconds = self.pushing.rounds, at.costs.round_us / 1e6
        queue = Queue(
            seconds=per_second * (sums.busy + rounds * round_seconds),
            squares=per_second * slower * (sums.squares + rounds * round_seconds**2),
        )
        share = at.inputs.materialised_share
        return formulas.seconds_to_last_follower(
            at.costs.share(slower), sums.largest_pushed, share, at.batches, queue
        )

    def _job_error(self) -> float:
        push = self.push_seconds
        return _ratio(push.margin, push.value)


def saving(of: Prediction, over: Prediction) -> Estimate:
    """Processor seconds a day that one saves over the other.

    What both have in common, and what is uncertain about it, cancels: only the work in which they differ counts.
    """
    at = of.situation
    share = at.inputs.materialised_share
    pushing = _difference(of.pushing, over.pushing)
    pulling = _difference(of.pulling, over.pulling)
    saved = (over.push_seconds.value + over.pull_seconds.value) - (
        of.push_seconds.value + of.pull_seconds.value
    )
    listed = _ratio(
        max(of.lists.mean_margin, over.lists.mean_margin), max(of.lists.mean, over.lists.mean)
    )
    sampled = (
        formulas.pull_seconds(at.costs, pulling)
        * math.hypot(listed, _ratio(at.inputs.reads_margin, at.inputs.reads)),
        pushing.follower_ids
        * at.inputs.materialised_margin
        * abs(at.costs.push_us - at.costs.skip_us)
        / 1e6,
    )
    calibrated = (
        formulas.push_seconds(at.margins, pushing, share),
        formulas.pull_seconds(at.margins, pulling),
    )
    return Estimate(saved, math.hypot(*sampled, *calibrated))


def _difference(one: _Work, other: _Work) -> _Work:
    return type(one)(
        **{name: abs(value - getattr(other, name)) for name, value in vars(one).items()}
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
