"""The connection to Redis or Valkey.

A server may come back older than it was: restarted from a snapshot, or failed over to a replica that lagged. Its data then look
valid and are not. So each new connection compares the server's run with the one under which the data were written, before its first
command; where they differ everything is thrown away, in the same atomic step. A restart and a failover end every connection.
On a cluster all this holds of each node for itself.
"""

from __future__ import annotations

from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, RedisClusterException
from redis.retry import Retry

from feedsvc.store.redis import cluster
from feedsvc.store.redis.cluster import Cluster, Redis
from feedsvc.store.redis.keys import run_id
from feedsvc.store.redis.scripts import CHECK_RUN

# What a client raises when the server is down, loading, a replica, full or too slow, or when a cluster misses a node: a 503, or
# exit code 1.
UNAVAILABLE = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.OutOfMemoryError,
    ClusterDownError,
    RedisClusterException,
)

_TIMEOUT_SECONDS = 5.0

_log = structlog.get_logger()


def connect(url: str) -> Redis:
    """A client for `redis://`, `rediss://`, `unix://` or `redis+cluster://`; answers are bytes.

    Connects at the first command, to a cluster at once. One immediate second try heals pooled connections that a restarted server
    has dropped. Every script here may run twice.
    """
    options: dict[str, Any] = {
        "socket_timeout": _TIMEOUT_SECONDS,
        "socket_connect_timeout": _TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 1),
        "protocol": 2,
    }
    if url.startswith(cluster.SCHEME):
        return Cluster(url, redis_connect_func=_check_node, reinitialize_steps=1, **options)
    return redis.Redis.from_url(
        url, redis_connect_func=_greet, retry_on_error=[redis.ConnectionError], **options
    )


def check_url(url: str) -> None:
    """Raises `ValueError` for what `connect` cannot read. Connects to nothing."""
    if url.startswith(cluster.SCHEME):
        cluster.named_nodes(url)
    else:
        connect(url).close()


def throw_everything_away(redis: Redis) -> None:
    """Make every view absent, on every node."""
    if not isinstance(redis, Cluster):
        CHECK_RUN.run(redis, [run_id()], 1)
        return
    redis.nodes_manager.initialize()
    with redis.primaries() as connections:
        for connection in connections:
            _check(connection, cluster.run_id_of(connection), anyway=True)


def _greet(connection: Any) -> None:
    """Log in and choose the database, then make sure that the data are of this run."""
    connection.on_connect()
    _check(connection, run_id())


def _check_node(connection: Any) -> None:
    """The same for a node of a cluster, behind a connection that has logged in."""
    _check(connection, cluster.run_id_of(connection))


def _check(connection: Any, key: str, *, anyway: bool = False) -> None:
    """Throw everything away that was written under another run, or `anyway`."""
    try:
        connection.send_command("EVAL", CHECK_RUN.text, 1, key, int(anyway))
        dropped = connection.read_response()
    except BaseException:
        connection.disconnect()  # the pool would hand it out, unchecked
        raise
    if dropped > 0:
        _log.warning("redis.another_run", keys_dropped=dropped)
