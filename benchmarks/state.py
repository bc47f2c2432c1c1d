"""The state of a service after a day under a threshold, moved from one threshold to the next."""

from __future__ import annotations

import gc
import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmarks import feeds, history
from benchmarks.graphs import SEED
from feedsvc.cache import relations
from feedsvc.fanout import queues
from feedsvc.feed import reader
from feedsvc.graph.follows import FollowChange, apply_batch
from feedsvc.planning import change
from feedsvc.planning.costs import list_bytes
from feedsvc.store.near_cache.snapshot import CachedList
from feedsvc.store.redis import invalidation_log
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.redis.usage import UsageCounter
from feedsvc.store.sql.tables import Account, Follow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.mixes import Operation
    from benchmarks.service import Bench
    from feedsvc.routing.policy import Route
    from feedsvc.store import Stores

_CHUNK = 500
# The viewers that read before a run if the near cache cannot hold all lists.
_OTHERS = 3_000


@dataclass(frozen=True)
class Rule:
    """A rule that decides which authors are pulled, with the thresholds that make it so.

    Between the two thresholds an account keeps its route.
    """

    promote_at: int
    demote_at: int
    pulls: Callable[[int], bool]


@dataclass
class State:
    """The accounts with their numbers of followers (`sizes`) and their posts, newest first.

    `cold`: viewers that have lost their feed or relations since the last `apply`.
    """

    bench: Bench
    sizes: dict[int, int]
    posts: dict[int, list[int]]
    cold: set[int] = field(default_factory=set)
    # The authors whose latest post was pulled, the number of home feeds, and some of their viewers.
    _pulled: set[int] = field(default_factory=set)
    _feeds: int = 0
    _others: list[int] = field(default_factory=list)
    # The followees of every viewer so far, and these viewers by followee.
    _followees: dict[int, list[int]] = field(default_factory=dict)
    _viewers: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    _new_follows: list[FollowChange] = field(default_factory=list)

    def materialise(self, active: Sequence[int]) -> None:
        """Store full feeds for the active accounts, of any posts, so that uploads are pushed."""
        newest = sorted((post for posts in self.posts.values() for post in posts), reverse=True)
        feeds.fill(self.bench, active, newest)
        self._feeds = len(active)
        self._others = random.Random(SEED).sample(active, min(_OTHERS, len(active)))
        freeze_memory()

    def note(self, operation: Operation) -> None:
        """Note that an operation has cost its account the feed or the relations."""
        kind, account, other = operation
        if kind in ("follow", "log out"):
            self.cold.add(account)
        if kind == "follow" and other not in (account, *self._followees[account]):
            self._followees[account].append(other)
            self._new_follows.append(FollowChange(account, other, "unfollow"))

    def add_post(self, author: int, post: int, route: Route) -> None:
        """Note an uploaded post, and push a pulled one to known viewers all the same (`apply`)."""
        self.posts.setdefault(author, []).insert(0, post)
        if route == "pull":
            self._pulled.add(author)
            stores = self.bench.stores
            pipe = stores.redis.pipeline(transaction=False)
            for viewer in (author, *self._viewers.get(author, ())):
                pipe.lpushx(stores.keys.homefeed(viewer), post)
            pipe.execute()

    def fill_feed(self, viewer: int) -> None:
        """Fill a feed that was rebuilt, which has pushed posts only (`apply`)."""
        history.fill_feeds(self.bench.stores, self.posts, {viewer: self._followees[viewer]})

    def undo(self, operations: Iterable[Operation]) -> None:
        """Take back the follows and the new accounts of operations that were performed."""
        stores, undone, self._new_follows = self.bench.stores, self._new_follows, []
        apply_batch(stores, undone)
        for each in undone:
            self._followees[each.follower].remove(each.followee)
            self.cold.add(each.follower)
        accounts = [each.account for each in operations if each.kind == "new account"]
        with stores.sql.writing() as connection:
            connection.execute(sa.delete(Account).where(Account.id.in_(accounts)))

    @property
    def pulled(self) -> int:
        """Return the number of pulled authors."""
        return len(self._pulled)

    def redis_bytes(self) -> int:
        """Return the memory of home feeds and celebrity lists after long under the present rule.

        The feeds of the known viewers stand for all feeds. In a run they hold pulled posts too.
        """
        cap = self.bench.stores.limits.feed_cap
        pushed = {author: len(each) for author, each in self.posts.items()}
        lists = [min(cap, pushed.pop(author)) for author in self._pulled]
        ids = [
            min(cap, sum(pushed.get(author, 0) for author in (*followees, viewer)))
            for viewer, followees in self._followees.items()
        ]
        entries = sum(lists) + self._feeds * sum(ids) / max(1, len(ids))
        return round(list_bytes(self._feeds + len(lists), entries))

    def threshold(self, promote_at: int) -> Rule:
        """Return the rule that pulls accounts from a number of followers on."""
        return Rule(promote_at, promote_at, lambda author: self.sizes[author] >= promote_at)

    def apply(self, rule: Rule, viewers: Iterable[int], usage: UsageCounter) -> tuple[Bench, Bench]:
        """Return the service under a rule, as two processes see it.

        The first process has read for long, so its near cache has all celebrity lists. If they do
        not fit, it has those of the largest accounts, and then reads as other viewers. The second
        sees no celebrity list, and its reads are not among the service's figures. The feeds of
        known viewers hold pulled posts too, as after a threshold was lowered, so both processes
        show the same pages.
        """
        stores = self.bench.stores
        change.change(
            stores,
            promote_at=rule.promote_at,
            demote_at=rule.demote_at,
            rollout_percent=100,
            reason="a sweep",
            changed_by="benchmarks",
            if_match=None,
        )
        pulled = set(filter(rule.pulls, self.posts))
        history.set_route(stores, "push", self._pulled - pulled)
        history.set_route(stores, "pull", pulled - self._pulled)
        self._pulled = pulled
        merging = self._with_near_cache(usage)
        others = self._others if merging.near_cache.lists_cached < len(pulled) else []
        self._warm({*viewers, *others})
        for viewer in others:
            reader.home_page(merging, viewer, None, 20)
        blind = replace(stores.with_empty_near_cache(), usage=_SilentUsage())
        blind.near_cache.reload(*invalidation_log.position(blind.redis), ())
        freeze_memory()
        return self._with(merging), self._with(blind)

    def _warm(self, viewers: set[int]) -> None:
        """Store feeds and relations of new viewers, and of the viewers that have lost theirs."""
        stores = self.bench.stores
        new = viewers.difference(self._followees)
        for viewer, followees in _followees(stores, sorted(new)).items():
            self._followees[viewer] = followees
            for followee in followees:
                self._viewers[followee].append(viewer)
        cold = new | self.cold
        history.fill_feeds(stores, self.posts, {viewer: self._followees[viewer] for viewer in cold})
        for viewer in cold:
            relations.visible_authors(stores, viewer)
        self.cold.clear()

    def _with_near_cache(self, usage: UsageCounter) -> Stores:
        """Return stores whose near cache has all celebrity lists."""
        stores = replace(self.bench.stores.with_empty_near_cache(), usage=usage)
        by_followers = sorted(self._pulled, key=self.sizes.__getitem__, reverse=True)
        lists = {author: self.posts[author] for author in by_followers}
        snapshot = history.fill_celebrity_lists(stores, lists)
        cap = stores.limits.feed_cap
        stores.near_cache.store_lists(
            snapshot,
            {
                author: CachedList.of(FloorList.of_newest(posts, cap))
                for author, posts in lists.items()
            },
        )
        return stores

    def _with(self, stores: Stores) -> Bench:
        services = replace(self.bench.services, stores=stores, enqueue=self._enqueue)
        return replace(self.bench, services=services)

    def _enqueue(self, post_id: int, generation: int, cursor: str, followers: int) -> None:
        """Send a fan-out as the service does, but a micro-batch without the wait for more posts.

        The wait takes half a second of every upload, and no processor time.
        """
        services, limits = self.bench.services, self.bench.stores.limits
        if followers > limits.fanout_slice:
            services.enqueue(post_id, generation, cursor, followers)
        elif queues.request_micro_batch(self.bench.stores):
            queues.send_micro_batch(services.celery, wait=False)


class _SilentUsage(UsageCounter):
    """A usage counter that adds nothing to the service's figures."""

    def add(self, *_: object) -> None:
        """Add nothing."""


def freeze_memory() -> None:
    """Exempt all present objects from garbage collection, so that no operation pays for a scan."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _followees(stores: Stores, viewers: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list, {viewer: [] for viewer in viewers})
    with stores.sql.reading() as connection:
        for first in range(0, len(viewers), _CHUNK):
            chunk = Follow.follower_id.in_(viewers[first : first + _CHUNK])
            for follower, followee in connection.execute(
                sa.select(Follow.follower_id, Follow.followee_id).where(chunk)
            ):
                found[follower].append(followee)
    return dict(found)
