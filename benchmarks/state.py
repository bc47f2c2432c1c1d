"""The state of a service after a day under a threshold, moved from one threshold to the next."""

from __future__ import annotations

import gc
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmarks import feeds, history
from feedsvc.cache import relations
from feedsvc.graph.follows import FollowChange, apply_batch
from feedsvc.planning import change
from feedsvc.store.near_cache.snapshot import CachedList
from feedsvc.store.redis import invalidation_log
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.sql.tables import Account, Follow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.mixes import Operation
    from benchmarks.service import Bench
    from feedsvc.store import Stores
    from feedsvc.store.redis.usage import UsageCounter

_CHUNK = 500


@dataclass
class State:
    """The accounts with their numbers of followers (`sizes`) and their posts, newest first.

    `cold`: viewers that have lost their feed or relations since the last `apply_threshold`.
    """

    bench: Bench
    sizes: dict[int, int]
    posts: dict[int, list[int]]
    cold: set[int] = field(default_factory=set)
    # The followees of every viewer so far.
    _followees: dict[int, list[int]] = field(default_factory=dict)

    def materialise(self, active: Sequence[int]) -> None:
        """Store full feeds for the active accounts, of any posts, so that uploads are pushed."""
        newest = sorted((post for posts in self.posts.values() for post in posts), reverse=True)
        feeds.fill(self.bench, active, newest)
        freeze_memory()

    def note(self, operation: Operation) -> None:
        """Note that an operation has cost its account the feed or the relations."""
        if operation.kind in ("follow", "log out"):
            self.cold.add(operation.account)

    def add_post(self, author: int, post: int) -> None:
        """Note an uploaded post."""
        self.posts.setdefault(author, []).insert(0, post)

    def undo(self, operations: Iterable[Operation]) -> None:
        """Take back the follows and the new accounts of operations that were performed."""
        stores, follows, accounts = self.bench.stores, list[FollowChange](), list[int]()
        for kind, account, other in operations:
            if kind == "follow" and other not in self._followees[account]:
                follows.append(FollowChange(account, other, "unfollow"))
            elif kind == "new account":
                accounts.append(account)
        apply_batch(stores, follows)
        self.cold.update(each.follower for each in follows)
        with stores.sql.writing() as connection:
            connection.execute(sa.delete(Account).where(Account.id.in_(accounts)))

    def apply_threshold(
        self,
        promote_at: int,
        viewers: Iterable[int],
        usage: UsageCounter,
        blind_usage: UsageCounter,
    ) -> tuple[Bench, Bench]:
        """Return the service under a threshold, as two processes see it.

        The first process has read for long, so its near cache has all celebrity lists. The second
        sees no celebrity list. The viewers' feeds hold pulled posts too, as after a threshold was
        lowered, so both processes show the same pages.
        """
        stores = self.bench.stores
        change.change(
            stores,
            promote_at=promote_at,
            demote_at=promote_at,
            rollout_percent=100,
            reason="a sweep",
            changed_by="benchmarks",
            if_match=None,
        )
        history.pull(stores, promote_at)
        self._warm(set(viewers))
        merging = self._with_near_cache(promote_at, usage)
        blind = replace(stores.with_empty_near_cache(), usage=blind_usage)
        blind.near_cache.reload(*invalidation_log.position(blind.redis), ())
        freeze_memory()
        return self._with(merging), self._with(blind)

    def _warm(self, viewers: set[int]) -> None:
        """Store feeds and relations of new viewers, and of the viewers that have lost theirs."""
        stores = self.bench.stores
        new = viewers.difference(self._followees)
        self._followees |= _followees(stores, sorted(new))
        cold = new | self.cold
        history.fill_feeds(stores, self.posts, {viewer: self._followees[viewer] for viewer in cold})
        for viewer in cold:
            relations.visible_authors(stores, viewer)
        self.cold.clear()

    def _with_near_cache(self, promote_at: int, usage: UsageCounter) -> Stores:
        """Return stores whose near cache has all celebrity lists."""
        stores = replace(self.bench.stores.with_empty_near_cache(), usage=usage)
        pulled = {
            author: posts
            for author, posts in self.posts.items()
            if self.sizes[author] >= promote_at
        }
        snapshot = history.fill_celebrity_lists(stores, pulled)
        cap = stores.limits.feed_cap
        stores.near_cache.store_lists(
            snapshot,
            {
                author: CachedList.of(FloorList.of_newest(posts, cap))
                for author, posts in pulled.items()
            },
        )
        return stores

    def _with(self, stores: Stores) -> Bench:
        return replace(self.bench, services=replace(self.bench.services, stores=stores))


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
