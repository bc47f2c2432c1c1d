"""The two stores, opened together, and the limits that both obey."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from feedsvc.store.redis.client import connect
from feedsvc.store.redis.cluster import SCHEME, Redis
from feedsvc.store.redis.copies import Copies
from feedsvc.store.redis.figures import Figures
from feedsvc.store.redis.keys import CLUSTER_BUCKETS, Keys
from feedsvc.store.sql.database import Database

if TYPE_CHECKING:
    from feedsvc.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large the views may grow, in what steps the fan-out works, and the first threshold."""

    feed_cap: int
    feed_slack: int
    feed_ttl_seconds: int
    fanout_batch: int
    fanout_slice: int
    promote_at: int
    demote_at: int

    @property
    def longest(self) -> int:
        """How long a list is when it is trimmed."""
        return self.feed_cap + self.feed_slack


@dataclass(frozen=True)
class Stores:
    """What every feature works on: SQL, the truth; Redis, a leased view, with its keys, its limits, this process's copies; figures."""

    sql: Database
    redis: Redis
    keys: Keys
    limits: Limits
    copies: Copies
    figures: Figures = field(default_factory=Figures)
    # Ids of outbox rows that this process has logged as impossible to apply.
    unappliable_changes: set[int] = field(default_factory=set)

    def without_copies(self) -> Stores:
        """The same stores, to look at what they hold now: this process has copied nothing."""
        return replace(self, copies=Copies(self.limits.longest))

    def close(self) -> None:
        """Give every connection back."""
        self.sql.close()
        self.redis.close()


def open_stores(settings: Settings, *, database_url: str, redis_url: str) -> Stores:
    """Stores at these addresses. Connects to nothing yet."""
    limits = Limits(
        feed_cap=settings.feed_cap,
        feed_slack=settings.feed_slack,
        feed_ttl_seconds=settings.feed_ttl_seconds,
        fanout_batch=settings.fanout_batch,
        fanout_slice=settings.fanout_slice,
        promote_at=settings.promote_at,
        demote_at=settings.demote_at,
    )
    keys = Keys(CLUSTER_BUCKETS if redis_url.startswith(SCHEME) else 1)
    return Stores(Database(database_url), connect(redis_url), keys, limits, Copies(limits.longest))
