"""The two stores, SQL and Redis, opened together.

Imports nothing of feedsvc above settings, formats and errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from feedsvc.forks import call_in_child
from feedsvc.store.near_cache.cache import NearCache
from feedsvc.store.redis.client import connect, forget_connections
from feedsvc.store.redis.cluster import Cluster
from feedsvc.store.redis.keys import CLUSTER_BUCKETS, Keys
from feedsvc.store.redis.usage import UsageCounter
from feedsvc.store.sql.database import Database
from feedsvc.store.watermark import Watermark

if TYPE_CHECKING:
    from feedsvc.settings import Settings
    from feedsvc.store.redis.cluster import Redis


@dataclass(frozen=True)
class Stores:
    """The stores that every feature works on.

    `sql` is the truth. `redis` is a leased cache of SQL. `keys` names its keys. `limits` are the
    settings. `near_cache` is this process's cache of Redis. `usage` has the counts that this
    process has not added to Redis yet.
    """

    sql: Database
    redis: Redis
    keys: Keys
    limits: Settings
    near_cache: NearCache
    usage: UsageCounter = field(default_factory=UsageCounter)
    # The id at or below which this process knows that no post becomes visible any more.
    watermark: Watermark = field(default_factory=Watermark)
    # Ids of outbox rows that this process has logged as impossible to apply.
    unappliable_changes: set[int] = field(default_factory=set)

    def with_empty_near_cache(self) -> Stores:
        """Return these stores with an empty near cache, to read the current content of Redis."""
        return replace(self, near_cache=near_cache_of(self.limits))

    def __post_init__(self) -> None:
        """Let a forked process connect to Redis anew. The other parts do so themselves."""
        call_in_child(self._forget_parent)

    def _forget_parent(self) -> None:
        forget_connections(self.redis)

    def close(self) -> None:
        """Close every connection."""
        self.sql.close()
        self.redis.close()


def near_cache_of(settings: Settings) -> NearCache:
    """Return an empty near cache within the limits of the settings."""
    return NearCache(settings.longest_list, settings.near_cache_bytes)


def open_stores(settings: Settings, *, database_url: str, redis_url: str) -> Stores:
    """Return the stores at two addresses.

    A Redis cluster is connected to immediately. SQL and a single Redis server are connected to at
    their first command.
    """
    client = connect(redis_url)
    keys = Keys(CLUSTER_BUCKETS if isinstance(client, Cluster) else 1)
    near_cache = near_cache_of(settings)
    return Stores(Database(database_url, settings), client, keys, settings, near_cache)
