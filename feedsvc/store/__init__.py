"""The two stores, opened together, and the limits that both obey."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from feedsvc.store.near_cache.cache import NearCache
from feedsvc.store.redis.client import connect
from feedsvc.store.redis.cluster import SCHEME, Redis
from feedsvc.store.redis.keys import CLUSTER_BUCKETS, Keys
from feedsvc.store.redis.usage import UsageCounter
from feedsvc.store.sql.database import Database

if TYPE_CHECKING:
    from feedsvc.settings import Settings


@dataclass(frozen=True)
class Stores:
    """What every feature works on: SQL, the truth; Redis, a leased view, with its keys, its limits, this process's copies; figures."""

    sql: Database
    redis: Redis
    keys: Keys
    limits: Settings
    near_cache: NearCache
    usage: UsageCounter = field(default_factory=UsageCounter)
    # Ids of outbox rows that this process has logged as impossible to apply.
    unappliable_changes: set[int] = field(default_factory=set)

    def without_near_cache(self) -> Stores:
        """The same stores, to look at what they hold now: this process has copied nothing."""
        return replace(self, near_cache=NearCache(self.limits.longest_list))

    def close(self) -> None:
        """Give every connection back."""
        self.sql.close()
        self.redis.close()


def open_stores(settings: Settings, *, database_url: str, redis_url: str) -> Stores:
    """Stores at these addresses. Connects to nothing yet."""
    keys = Keys(CLUSTER_BUCKETS if redis_url.startswith(SCHEME) else 1)
    return Stores(
        Database(database_url), connect(redis_url), keys, settings, NearCache(settings.longest_list)
    )
