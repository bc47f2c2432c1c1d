"""The connection to Redis or Valkey."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

Redis = redis.Redis

# What a client raises when the server is down, loading, a replica, full or too slow: a 503, or exit code 1.
UNAVAILABLE = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError)

_TIMEOUT_SECONDS = 5.0


def connect(url: str) -> Redis:
    """A client for `redis://`, `rediss://` or `unix://`; answers are bytes. Connects at the first command.

    One immediate second try heals pooled connections that a restarted server has dropped. Every script here may run twice.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[redis.ConnectionError],
        protocol=2,
    )
