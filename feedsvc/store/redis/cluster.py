"""A cluster of Redis or Valkey nodes, as a client with the methods of a single server's client.

Each node may come back with older data, by itself. So each node stores the run under which its data
were written, in a slot of its own, and each new connection compares it (see `runs`). A replica
redirects its clients until it is promoted. A connection that was made before the promotion would
then stay unchecked. So no connection is made to a replica, and all connections are made anew when
slots change hands.
"""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import redis
from redis.cluster import ClusterNode
from redis.event import AfterSlotsCacheRefreshEvent, EventDispatcher, EventListenerInterface

from feedsvc.store.redis.breaker import Breaker
from feedsvc.store.redis.connection_pool import NodePool, limited
from feedsvc.store.redis.faults import CLIENT_ERRORS, raise_fault
from feedsvc.store.redis.keys import keys_over_slots, run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from feedsvc.redis_address import Address
    from feedsvc.store.redis.connection_pool import ServerPool
    from feedsvc.store.redis.single_server import SingleServer

    # A client of one server, or of the nodes of a cluster.
    Redis: TypeAlias = SingleServer | "Cluster"

# To find a key in a slot of each of 100 nodes takes about 500 tries.
_KEYS_TRIED = 5_000


class Cluster(redis.RedisCluster):
    """A client of all nodes. It reads the topology from a named node that answers.

    Its commands raise `StoreUnavailable`.
    """

    def __init__(self, address: Address, **options: Any) -> None:
        """Connect to the first named node that answers."""
        self._breaker = Breaker()
        dispatcher = EventDispatcher()
        (host, port), *others = address.nodes
        scheme = "redis" if address.tls is None else "rediss"
        try:
            super().__init__(
                # Only a client that was made from a URL uses the pool of `connection_pool_class`.
                url=f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}",
                startup_nodes=[ClusterNode(*node) for node in others],  # type: ignore[no-untyped-call]
                event_dispatcher=dispatcher,
                connection_pool_class=NodePool,
                **options,
            )
        except CLIENT_ERRORS as error:
            raise_fault(error, self.drop_connections)
        dispatcher.register_listeners({AfterSlotsCacheRefreshEvent: [_Renewal(self)]})

    def execute_command(self, *command: Any, **options: Any) -> Any:
        """Run one command on the node that has its key."""
        try:
            with self.used():
                return super().execute_command(*command, **options)  # type: ignore[no-untyped-call]
        except CLIENT_ERRORS as error:
            raise_fault(error, self.drop_connections)

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Limit all waits in the block together to 2 s.

        While no node answers, one thread at a time may enter. The other threads get `NoAnswer`.
        """
        if self._breaker.is_open:
            self._breaker.enter()
        try:
            with limited():
                yield
        except CLIENT_ERRORS as error:
            # One silent node does not open the breaker, because the others may answer.
            is_away = isinstance(error, (redis.ConnectionError, redis.TimeoutError))
            if isinstance(error, redis.RedisClusterException) or (
                is_away and self._breaker.is_open
            ):
                self._breaker.timed_out()
            raise
        if self._breaker.is_open:
            self._breaker.answered()

    def reset_breaker(self) -> None:
        """Begin with a closed breaker, in a forked process. Its lock may be held by the parent."""
        self._breaker = Breaker()

    def drop_connections(self) -> None:
        """Read the topology again. This also replaces every connection."""
        with contextlib.suppress(*CLIENT_ERRORS, AttributeError):
            self.nodes_manager.initialize()

    def key_on_each_primary(self, name: str) -> list[str]:
        """Return a key for each primary of the known topology, in a slot of that primary."""
        slots = self.nodes_manager.slots_cache
        primaries = len(self.get_primaries())  # type: ignore[no-untyped-call]
        found: dict[str, str] = {}
        for slot, key in islice(keys_over_slots(name), _KEYS_TRIED):
            if slot in slots:
                found.setdefault(slots[slot][0].name, key)
            if len(found) >= primaries:
                break
        return list(found.values())

    @contextlib.contextmanager
    def primaries(self) -> Iterator[list[Any]]:
        """Yield a connection to each primary of the known topology."""
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(connected(self.get_redis_connection(node)))
                for node in self.get_primaries()  # type: ignore[no-untyped-call]
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
    except BaseException as error:
        connection.disconnect()
        if isinstance(error, redis.TimeoutError):
            cast("ServerPool", node.connection_pool).timed_out()
        raise
    finally:
        node.connection_pool.release(connection)


def run_id_of(connection: Any) -> tuple[str, str]:
    """Return the key of the stored run of this connection's node, and the epoch of the node.

    A node gets another epoch when it is promoted. Raises `redis.ConnectionError` if the node is no
    primary, or has no slot.
    """
    connection.send_command("CLUSTER", "NODES")
    lines = [line.split() for line in connection.read_response().decode().splitlines()]
    mine = next(fields for fields in lines if "myself" in fields[2].split(","))
    flags, slots = mine[2].split(","), mine[8:]
    if "master" not in flags or not slots:
        raise redis.ConnectionError(
            f"{connection.host}:{connection.port} is no primary with slots: connect to a primary"
        )
    return run_id(_owner(slots)), mine[6]


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
