"""The two stores, opened together, and the limits that both obey."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from feedsvc.store.redis.celebrities import CelebrityCopy
from feedsvc.store.redis.client import Redis, connect
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


@dataclass(frozen=True)
class Stores:
    """What every feature works on: SQL, the truth; Redis, a leased view of it; the limits; and one copy of a view."""

    sql: Database
    redis: Redis
    limits: Limits
    celebrities: CelebrityCopy = field(default_factory=CelebrityCopy)

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
    return Stores(Database(database_url), connect(redis_url), limits)
