"""The connection to Redis or Valkey: one server, or the nodes of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from feedsvc import redis_address
from feedsvc.store.redis import cluster, runs
from feedsvc.store.redis.cluster import Cluster, connected
from feedsvc.store.redis.connection_pool import TIMEOUT_SECONDS, ServerPool
from feedsvc.store.redis.faults import CLIENT_ERRORS, raise_fault
from feedsvc.store.redis.keys import SIGN_OF_LIFE, run_id
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.redis.single_server import SingleServer

if TYPE_CHECKING:
    from feedsvc.redis_address import Address
    from feedsvc.store.redis.cluster import Redis

_SIGN_OF_LIFE_SECONDS = 10


def connect(url: str) -> SingleServer | Cluster:
    """Return a client for the URL, in the forms of `redis_address`.

    Answers are bytes. A single server is connected to at the first command, a cluster immediately.
    A command that fails on a dropped connection is sent once more, on a new connection. So every
    command may run twice, and every script allows that. Raises `BadAddress`.
    """
    address = redis_address.parse(url)
    options = _login(address)
    if address.is_cluster:
        return Cluster(
            address,
            redis_connect_func=_check_node,
            reinitialize_steps=1,
            retry=Retry(NoBackoff(), 1),
            **options,
        )
    pool = ServerPool(
        redis_connect_func=_log_in,
        retry=Retry(NoBackoff(), 0),  # `SingleServer` tries again
        **_place(address, None),
        **options,
    )
    return cast("SingleServer", SingleServer.from_pool(pool))


def connect_plainly(url: str) -> redis.Redis | redis.RedisCluster:
    """Return a client of redis-py. It does not check the run, so it never empties a server."""
    address = redis_address.parse(url)
    options = _login(address)
    retry = Retry(NoBackoff(), 0)
    if address.is_cluster:
        return redis.RedisCluster(
            startup_nodes=[ClusterNode(*node) for node in address.nodes],  # type: ignore[no-untyped-call]
            ssl=address.tls is not None,
            retry=retry,
            **options,
        )
    return redis.Redis.from_pool(
        redis.ConnectionPool(retry=retry, **_place(address, None), **options)
    )


def plain_nodes(url: str) -> list[redis.Redis]:
    """Return a plain client for each server that the URL names."""
    address = redis_address.parse(url)
    options = {"retry": Retry(NoBackoff(), 0), **_login(address)}
    places = [_place(address, node) for node in address.nodes or (None,)]
    return [redis.Redis.from_pool(ServerPool(**place, **options)) for place in places]


def _login(address: Address) -> dict[str, Any]:
    """Return the keywords that all connections share: time limits, login and TLS."""
    return {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "protocol": 2,
        "username": address.username or None,
        "password": address.password or None,
        **address.tls_keywords(),
    }


def _place(address: Address, node: tuple[str, int] | None) -> dict[str, Any]:
    """Return the keywords for the location of a server: of the node, or of the only server."""
    if address.socket:
        place = {"connection_class": redis.UnixDomainSocketConnection, "path": address.socket}
    else:
        host, port = node or address.nodes[0]
        kind = redis.Connection if address.tls is None else redis.SSLConnection
        place = {"connection_class": kind, "host": host, "port": port}
    return {"db": address.database, **place}


def show_sign_of_life(redis: Redis) -> None:
    """Show a sign of life, in a round trip of its own. Raises `StoreUnavailable`."""
    trip = RoundTrip(redis)
    add_sign_of_life(trip, redis)
    trip.run()


def add_sign_of_life(trip: RoundTrip, redis: Redis) -> None:
    """Write a small value to Redis in a round trip, on a cluster to each primary.

    A server that is full, read-only or without its replicas refuses this write. It would answer a
    PING.
    """
    names = (
        redis.key_on_each_primary(SIGN_OF_LIFE) if isinstance(redis, Cluster) else [SIGN_OF_LIFE]
    )
    for name in names:
        trip.ask("SET", name, 1, "EX", _SIGN_OF_LIFE_SECONDS)


def delete_everything(client: Redis) -> None:
    """Make every view absent, on every node. Raises `StoreUnavailable`."""
    try:
        if isinstance(client, Cluster):
            client.nodes_manager.initialize()
            with client.primaries() as connections:
                for connection in connections:
                    runs.empty(connection, cluster.run_id_of(connection)[0])
        else:
            with connected(client) as connection:
                runs.empty(connection, run_id())
    except CLIENT_ERRORS as error:
        raise_fault(error, client.drop_connections)


def forget_connections(client: Redis) -> None:
    """Leave all connections to the parent of this forked process. The next command opens one."""
    if isinstance(client, Cluster):
        client.reset_breaker()
        nodes = [node.redis_connection for node in client.get_nodes()]  # type: ignore[no-untyped-call]
    else:
        nodes = [client]
    for node in nodes:
        if node is not None:
            node.connection_pool.reset()


def _log_in(connection: Any) -> None:
    """Log in and choose the database, then check the run of the server."""
    connection.on_connect()
    runs.check(connection, run_id())


def _check_node(connection: Any) -> None:
    """Check the run of a cluster's node, on a connection that has logged in."""
    runs.check(connection, *cluster.run_id_of(connection))
