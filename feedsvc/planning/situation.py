"""The inputs of a prediction: a survey, unit costs, processes and today's thresholds. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from feedsvc.planning import costs as formulas
from feedsvc.planning import near_cache
from feedsvc.planning.costs import Batches, Pulling, UnitCosts
from feedsvc.planning.near_cache import CachedLists, Lists
from feedsvc.planning.survey.aggregates import DAY_SECONDS, Cell, ListsAt, Survey

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Lines:
    """A pair of thresholds.

    An account is pulled from `promote_at` followers on, and pushed below `demote_at`. Between the
    two it keeps its route.
    """

    promote_at: int
    demote_at: int

    def shares(self, cell: Cell) -> tuple[float, float]:
        """Return the shares of a cell's accounts above both thresholds, and between the two."""
        above = cell.share_from(self.promote_at)
        return above, cell.share_from(self.demote_at) - above


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
        above, between = lines.shares(cell)
        if not between:
            return above
        above_today, between_today = self.today.shares(cell)
        pulled = cell.pulled / cell.posted if cell.posted else 0.0
        return above + between * (above_today + between_today * pulled)

    def cached_lists(self, pulled: Iterable[tuple[Group, float]]) -> CachedLists:
        """Return what a process holds and misses of the lists of groups, each pulled in a share."""
        lists = (
            Lists(
                share * group.cell.posted,
                group.cell.entries / group.cell.posted,
                group.cell.followers / group.cell.accounts,
            )
            for group, share in pulled
            if group.cell.posted
        )
        return near_cache.cached_lists(lists, self.processes.near_cache_bytes)

    def pulling(self, lists: ListsAt, cached: CachedLists) -> Pulling:
        """Return the work of reads that merge these lists, by processes that hold some of them."""
        reads, held, missed = self.survey.reads, cached.lists, cached.missed_share
        return Pulling(
            look_ups=reads if held else 0.0,
            merging_reads=reads * (1 - lists.shares[0]),
            list_units=reads * lists.mean_of(lambda count: formulas.list_units(count, held)),
            fetches=reads * lists.mean_of(lambda count: 1 - (1 - missed) ** count),
            fetched_lists=reads * lists.mean * missed,
        )

    @cached_property
    def seconds_per_merged_list(self) -> float:
        """Return the mean cost of merging a list if every account is pulled."""
        lists = self.survey.lists[0]
        work = self.pulling(lists, self.cached_lists((group, 1.0) for group in self.groups))
        merged = self.survey.reads * lists.mean
        return formulas.pull_seconds(self.costs, work) / merged if merged else 0.0
