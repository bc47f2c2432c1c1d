"""The connection to Redis or Valkey.

A server may come back with older data, after a restart from a snapshot or a failover to a replica
that lagged. Its views then look valid and are not. So the data contain the id of the server's run
under which they were written. Before its first command, each new connection compares this id with
the server's run id. If the two differ, all data are deleted in the same atomic step. A restart and
a failover end every connection, so every process connects anew. On a cluster each node is checked
by itself.
"""

from __future__ import annotations

from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, RedisClusterException
from redis.retry import Retry

from feedsvc.addresses import CLUSTER_SCHEME
from feedsvc.store.redis import cluster
from feedsvc.store.redis.cluster import Cluster, Redis
from feedsvc.store.redis.keys import run_id
from feedsvc.store.redis.scripts import CHECK_RUN

# Errors of a client when the server is down, loading, a replica, full or too slow, or when a
# cluster misses a node. They become a 503, or exit code 1.
UNAVAILABLE = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.OutOfMemoryError,
    ClusterDownError,
    RedisClusterException,
)

# How the error of a server begins that refuses every write, not only one command.
_REFUSALS = ("BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOPERM", "NOREPLICAS", "OOM", "READONLY")

_TIMEOUT_SECONDS = 5.0

_log = structlog.get_logger()


def is_store_fault(error: Exception) -> bool:
    """Return whether an error means that Redis is down or refuses every write."""
    refused = isinstance(error, redis.ResponseError) and str(error).startswith(_REFUSALS)
    return refused or isinstance(error, (*UNAVAILABLE, redis.exceptions.NoPermissionError))


def connect(url: str) -> Redis:
    """Return a client for `redis://`, `rediss://`, `unix://` or `redis+cluster://`.

    Answers are bytes. A single server is connected to at the first command, a cluster immediately.
    A command that fails on a dropped connection is sent once more, on a new connection. So every
    command may run twice, and every script allows that.
    """
    options: dict[str, Any] = {
        "socket_timeout": _TIMEOUT_SECONDS,
        "socket_connect_timeout": _TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 1),
        "protocol": 2,
    }
    if url.startswith(CLUSTER_SCHEME):
        return Cluster(url, redis_connect_func=_check_node, reinitialize_steps=1, **options)
    return redis.Redis.from_url(
        url, redis_connect_func=_log_in, retry_on_error=[redis.ConnectionError], **options
    )


def delete_everything(client: Redis) -> None:
    """Make every view absent, on every node."""
    if not isinstance(client, Cluster):
        CHECK_RUN.run(client, [run_id()], 1)
        return
    client.nodes_manager.initialize()
    with client.primaries() as connections:
        for connection in connections:
            _check(connection, cluster.run_id_of(connection), always=True)


def forget_connections(client: Redis) -> None:
    """Leave all connections to the parent of this process, which was forked. Open new ones."""
    if isinstance(client, Cluster):
        nodes = [node.redis_connection for node in client.get_nodes()]  # type: ignore[no-untyped-call]
    else:
        nodes = [client]
    for node in nodes:
        if node is not None:
            node.connection_pool.reset()


def _log_in(connection: Any) -> None:
    """Log in and choose the database, then check the run of the server."""
    connection.on_connect()
    _check(connection, run_id())


def _check_node(connection: Any) -> None:
    """Check the run of a cluster's node, on a connection that has logged in."""
    _check(connection, cluster.run_id_of(connection))


def _check(connection: Any, key: str, *, always: bool = False) -> None:
    """Delete all data if they were written under another run, or if `always`."""
    try:
        connection.send_command("EVAL", CHECK_RUN.text, 1, key, int(always))
        deleted = connection.read_response()
    except BaseException:
        connection.disconnect()  # otherwise the pool would hand it out unchecked
        raise
    if deleted > 0:
        _log.warning("redis.another_run", keys_dropped=deleted)
