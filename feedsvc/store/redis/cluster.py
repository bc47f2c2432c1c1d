"""A cluster of Redis or Valkey nodes, as a client with the methods of a single one.

Each node may come back older than it was, by itself. So each has its own note of the run under which its data were written, in a
slot of its own, and each new connection compares it (see `client`). A replica redirects whoever asks it, until it is promoted; a
connection made before that would then go unchecked: so none is made to a replica, and all are made anew when slots change hands.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis
from redis.cluster import ClusterNode
from redis.event import AfterSlotsCacheRefreshEvent, EventDispatcher, EventListenerInterface

from feedsvc.store.redis.keys import run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SCHEME = "redis+cluster://"


class Cluster(redis.RedisCluster):
    """A client of all nodes. It asks for the topology at once: one of the nodes named has to answer."""

    def __init__(self, url: str, **options: Any) -> None:
        """A client for `redis+cluster://[user:password@]host:port,host:port`."""
        user = url.removeprefix(SCHEME).rpartition("@")[0]
        if user:
            options["username"], _, options["password"] = user.partition(":")
        dispatcher = EventDispatcher()
        super().__init__(startup_nodes=named_nodes(url), event_dispatcher=dispatcher, **options)
        dispatcher.register_listeners({AfterSlotsCacheRefreshEvent: [_Renewal(self)]})

    def ping(self, **_: Any) -> bool:
        """Whether every primary answers; raises what its silence raises."""
        try:
            return self._ping()
        except redis.ConnectionError:
            self.nodes_manager.initialize()  # one that is not a primary any more is not asked again
            return self._ping()

    @contextlib.contextmanager
    def primaries(self) -> Iterator[list[Any]]:
        """A connection to each primary, as far as is known."""
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


# A client of one server, or of a cluster's nodes.
Redis = redis.Redis | Cluster


def named_nodes(url: str) -> list[ClusterNode]:
    """The nodes that a `redis+cluster://` URL names. Raises `ValueError` where one has no port."""
    named = [
        node.rpartition(":") for node in url.removeprefix(SCHEME).rpartition("@")[2].split(",")
    ]
    return [ClusterNode(host, int(port)) for host, _, port in named]  # type: ignore[no-untyped-call]


def node_of(client: Redis, key: str) -> redis.Redis:
    """The node that has this key; the client itself, if it is one of a single node."""
    if not isinstance(client, Cluster):
        return client
    return client.get_redis_connection(client.get_node_from_key(key))  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def connected(node: redis.Redis) -> Iterator[Any]:
    """A connection to a node, given back afterwards; closed if anything went wrong, as answers may still be under way."""
    connection: Any = node.connection_pool.get_connection()
    try:
        yield connection
    except BaseException:
        connection.disconnect()
        raise
    finally:
        node.connection_pool.release(connection)


def run_id_of(connection: Any) -> str:
    """The key of the run of the node behind this connection. Raises `redis.ConnectionError` if it is no primary, or has no slot."""
    connection.send_command("CLUSTER", "NODES")
    lines = [line.split() for line in connection.read_response().decode().splitlines()]
    mine = next(fields for fields in lines if "myself" in fields[2].split(","))
    flags, slots = mine[2].split(","), mine[8:]
    if "master" not in flags or not slots:
        raise redis.ConnectionError(
            f"{connection.host}:{connection.port} is no primary with slots, and is not asked"
        )
    return run_id(_owner(slots))


def _owner(slots: Sequence[str]) -> Callable[[int], bool]:
    """Tells which slots are among these, as `CLUSTER NODES` writes them, and not on their way to or from another node."""
    moving = {int(slot[1:].partition("-")[0]) for slot in slots if slot.startswith("[")}
    bounds = [slot.partition("-") for slot in slots if not slot.startswith("[")]
    ranges = [range(int(first), int(last or first) + 1) for first, _, last in bounds]
    return lambda slot: slot not in moving and any(slot in each for each in ranges)


class _Renewal(EventListenerInterface):
    """Makes every connection anew when slots have changed hands."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def listen(self, event: object) -> None:  # noqa: ARG002 -- it says nothing
        for node in self._cluster.get_nodes():  # type: ignore[no-untyped-call]
            if node.redis_connection is not None:
                pool = node.redis_connection.connection_pool
                pool.update_active_connections_for_reconnect()
                pool.disconnect_free_connections()
