"""A cluster of Redis or Valkey nodes, as a client with the methods of a single server's client.

Each node may come back with older data, by itself. So each node stores the run under which its data
were written, in a slot of its own, and each new connection compares it (see `client`). A replica
redirects its clients until it is promoted. A connection that was made before the promotion would
then stay unchecked. So no connection is made to a replica, and all connections are made anew when
slots change hands.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis
from redis.cluster import ClusterNode
from redis.event import AfterSlotsCacheRefreshEvent, EventDispatcher, EventListenerInterface

from feedsvc.addresses import CLUSTER_SCHEME
from feedsvc.store.redis.keys import run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Cluster(redis.RedisCluster):
    """A client of all nodes. It reads the topology from a named node that answers."""

    def __init__(self, url: str, **options: Any) -> None:
        """Connect to `redis+cluster://[user:password@]host:port,host:port`."""
        user = url.removeprefix(CLUSTER_SCHEME).rpartition("@")[0]
        if user:
            options["username"], _, options["password"] = user.partition(":")
        dispatcher = EventDispatcher()
        super().__init__(startup_nodes=named_nodes(url), event_dispatcher=dispatcher, **options)
        dispatcher.register_listeners({AfterSlotsCacheRefreshEvent: [_Renewal(self)]})

    def ping(self, **_: Any) -> bool:
        """Return whether every primary answers; raise the error of the one that does not."""
        try:
            return self._ping()
        except redis.ConnectionError:
            self.nodes_manager.initialize()  # a node may be no primary any more
            return self._ping()

    @contextlib.contextmanager
    def primaries(self) -> Iterator[list[Any]]:
        """Yield a connection to each primary of the known topology."""
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(connected(self.get_redis_connection(node)))
                for node in self.get_primaries()  # type: ignore[no-untyped-call]
            ]

    def _ping(self) -> bool:
        with self.primaries() as connections:
            for connection in connections:
                connection.send_command("PING")
            return all(connection.read_response() for connection in connections)


# A client of one server, or of the nodes of a cluster.
Redis = redis.Redis | Cluster


def named_nodes(url: str) -> list[ClusterNode]:
    """Return the nodes in a `redis+cluster://` URL. Raises `ValueError` if a node has no port."""
    nodes = [
        node.rpartition(":")
        for node in url.removeprefix(CLUSTER_SCHEME).rpartition("@")[2].split(",")
    ]
    return [
        ClusterNode(host, int(port))  # type: ignore[no-untyped-call]
        for host, _, port in nodes
    ]


def node_of(client: Redis, key: str) -> redis.Redis:
    """Return a client of the node that has this key."""
    if not isinstance(client, Cluster):
        return client
    node = client.get_node_from_key(key)  # type: ignore[no-untyped-call]
    return client.get_redis_connection(node)


@contextlib.contextmanager
def connected(node: redis.Redis) -> Iterator[Any]:
    """Yield a connection to a node, and release it.

    After an error it is closed first, because answers may be unread.
    """
    connection: Any = node.connection_pool.get_connection()
    try:
        yield connection
    except BaseException:
        connection.disconnect()
        raise
    finally:
        node.connection_pool.release(connection)


def run_id_of(connection: Any) -> str:
    """Return the key of the stored run of the node behind this connection.

    Raises `redis.ConnectionError` if the node is no primary, or has no slot.
    """
    connection.send_command("CLUSTER", "NODES")
    lines = [line.split() for line in connection.read_response().decode().splitlines()]
    mine = next(fields for fields in lines if "myself" in fields[2].split(","))
    flags, slots = mine[2].split(","), mine[8:]
    if "master" not in flags or not slots:
        raise redis.ConnectionError(
            f"{connection.host}:{connection.port} is no primary with slots: connect to a primary"
        )
    return run_id(_owner(slots))


def _owner(slots: Sequence[str]) -> Callable[[int], bool]:
    """Return a function that says whether a slot belongs to a node and is not being moved.

    `slots`: as `CLUSTER NODES` writes them.
    """
    moving = {int(slot[1:].partition("-")[0]) for slot in slots if slot.startswith("[")}
    bounds = [slot.partition("-") for slot in slots if not slot.startswith("[")]
    ranges = [range(int(first), int(last or first) + 1) for first, _, last in bounds]
    return lambda slot: slot not in moving and any(slot in each for each in ranges)


class _Renewal(EventListenerInterface):
    """Replaces every connection after slots have changed hands."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def listen(self, event: object) -> None:  # noqa: ARG002 -- the event has no details
        for node in self._cluster.get_nodes():  # type: ignore[no-untyped-call]
            if node.redis_connection is not None:
                pool = node.redis_connection.connection_pool
                pool.update_active_connections_for_reconnect()
                pool.disconnect_free_connections()
