"""Compare the clocks of the stores with this host's clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from feedsvc.store.redis.cluster import node_of
from feedsvc.store.redis.faults import CLIENT_ERRORS, raise_fault
from feedsvc.store.redis.keys import CELEBRITIES
from feedsvc.store.sql import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.store import Stores

# Differences up to this are usual and have no effect.
TOLERATED_SECONDS = 1.0


def differences(stores: Stores) -> dict[str, float]:
    """Return by how many seconds each store's clock is ahead of this host's.

    SQLite uses the host's own clock, so it is left out. On a cluster one node is asked. Raises
    `StoreUnavailable`.
    """
    node = node_of(stores.redis, CELEBRITIES)
    try:
        found = {"Redis": ahead(lambda: redis_seconds(node))}
    except CLIENT_ERRORS as error:
        raise_fault(error, stores.redis.drop_connections)
    if not stores.sql.is_sqlite:
        with stores.sql.reading() as connection:
            clock.ms(connection)  # the first statement of a connection takes longer
            found["the database"] = ahead(lambda: clock.ms(connection) / 1000)
    return found


def ahead(read: Callable[[], float]) -> float:
    """Return by how many seconds a clock is ahead of this host's; negative if it is behind.

    `read` returns the clock in seconds since 1970. The duration of the call is not counted.
    """
    before = time.time()
    there = read()
    after = time.time()
    return there - min(max(there, before), after)


def redis_seconds(client: Any) -> float:
    """Read the clock of a Redis, in seconds since 1970."""
    seconds, microseconds = client.time()
    return float(seconds) + float(microseconds) / 1_000_000
