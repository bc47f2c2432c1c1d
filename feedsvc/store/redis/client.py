"""The connection to Redis or Valkey, and what is said when it is down."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feedsvc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

Redis = redis.Redis

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


@contextmanager
def unavailable_is_said() -> Iterator[None]:
    """Turns a Redis that is down, loading or too slow into `StoreUnavailable`."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError, redis.ReadOnlyError) as error:
        raise StoreUnavailable("Redis") from error


def ping(client: Redis) -> Any:
    """Raises `StoreUnavailable` when Redis does not answer."""
    with unavailable_is_said():
        return client.ping()
