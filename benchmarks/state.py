"""A service's state as a day under a threshold would have left it, turned from one threshold to the next."""

from __future__ import annotations

import gc
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmarks import feeds, history
from feedsvc.cache import relations
from feedsvc.planning import change
from feedsvc.store.near_cache.snapshot import held
from feedsvc.store.redis import invalidation_log
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.sql.tables import Follow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.service import Bench
    from feedsvc.store import Stores
    from feedsvc.store.redis.usage import UsageCounter

_CHUNK = 500


@dataclass
class State:
    """Accounts and their sizes, and what each has posted, newest first."""

    bench: Bench
    sizes: dict[int, int]
    posts: dict[int, list[int]]
    # Of those viewers that were looked up; those among them whose feed or relations are gone since.
    _followees: dict[int, list[int]] = field(default_factory=dict)
    cold: set[int] = field(default_factory=set)

    def materialise(self, active: Sequence[int]) -> None:
        """Full feeds for all who are active, of whatever posts there are: what uploads are pushed into."""
        newest = sorted((post for posts in self.posts.values() for post in posts), reverse=True)
        feeds.fill(self.bench, active, newest)
        _freeze()

    def turn(
        self, promote_at: int, viewers: Iterable[int], figures: UsageCounter
    ) -> tuple[Bench, Bench]:
        """The service under this threshold, as a process has it that has read for long; and as one that sees no celebrity list.

        The feeds of these viewers hold pulled posts, too, as they do after the threshold was lowered: so both see the same pages.
        """
        stores = self.bench.stores
        about = {
            "reason": "a sweep",
            "changed_by": "benchmarks",
            "if_match": None,
            "rollout_percent": 100,
        }
        change.change(stores, promote_at=promote_at, demote_at=promote_at, **about)
        history.pull(stores, promote_at)
        self._warm(set(viewers))
        seeing = self._seeing(promote_at, figures)
        blind = stores.without_near_cache()
        blind.near_cache.reload(*invalidation_log.latest(blind.redis), ())
        _freeze()
        return self._with(seeing), self._with(blind)

    def _warm(self, viewers: set[int]) -> None:
        """Feeds and relations of those among these viewers that have none, and of those that have lost theirs."""
        stores = self.bench.stores
        unknown = viewers.difference(self._followees)
        self._followees |= followees(stores, sorted(unknown))
        cold = unknown | self.cold
        history.fill_feeds(stores, self.posts, {viewer: self._followees[viewer] for viewer in cold})
        for viewer in cold:
            relations.visible_authors(stores, viewer)
        self.cold.clear()

    def _seeing(self, promote_at: int, figures: UsageCounter) -> Stores:
        """The stores as a process has them that has copies of all celebrity lists."""
        stores = replace(self.bench.stores.without_near_cache(), usage=figures)
        pulled = {
            author: posts
            for author, posts in self.posts.items()
            if self.sizes[author] >= promote_at
        }
        known = history.list_posts(stores, pulled)
        cap = stores.limits.feed_cap
        stores.near_cache.hold(
            known,
            {author: held(FloorList.of_newest(posts, cap)) for author, posts in pulled.items()},
        )
        return stores

    def _with(self, stores: Stores) -> Bench:
        return replace(self.bench, services=replace(self.bench.services, stores=stores))


def _freeze() -> None:
    """All that there is stays: no operation is to be charged with a look through it."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def followees(stores: Stores, viewers: Sequence[int]) -> dict[int, list[int]]:
    """Whom these viewers follow."""
    found: dict[int, list[int]] = defaultdict(list, {viewer: [] for viewer in viewers})
    with stores.sql.reading() as connection:
        for first in range(0, len(viewers), _CHUNK):
            some = Follow.follower_id.in_(viewers[first : first + _CHUNK])
            for follower, followee in connection.execute(
                sa.select(Follow.follower_id, Follow.followee_id).where(some)
            ):
                found[follower].append(followee)
    return dict(found)
