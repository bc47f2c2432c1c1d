"""Check on each new connection that the data are of this run of the server.

A server may come back with older data, after a restart from a snapshot or a failover to a replica
that lagged. Its views then look valid and are not. So the data contain the id of the server's run
under which they were written. Before its first command, each new connection compares this id with
the server's run id. If the two differ, all data are deleted in the same atomic step. A restart and
a failover end every connection, so every process connects anew.

A server may forbid `FLUSHDB`. The keys of the service are then deleted in steps. Until the last
step the server has no run id, so no connection reads from it.

A server may forbid `INFO`, which tells the run. The run is then known by a mark in the server's
cache of scripts. Neither a snapshot nor a replica has that cache.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import redis
import structlog

from feedsvc.store.redis.keys import BEGINNINGS
from feedsvc.store.redis.scripts import CHECK_RUN, DELETE_STEP

if TYPE_CHECKING:
    from typing import Literal

# A release that writes the views in another way has another layout.
_LAYOUT = 2
# How long a connection deletes keys before it gives up, and the next connection goes on.
_DELETE_SECONDS = 1.0
_RUN_UNKNOWN = -2

_log = structlog.get_logger()


class BeingEmptied(redis.ConnectionError):
    """The server has data of another run. They are not all deleted yet."""

    def __init__(self) -> None:
        super().__init__("data of an earlier run of the server are being deleted")


def check(connection: Any, key: str, generation: str = "") -> None:
    """Delete all data if they were written under another run.

    `key` has the run. `generation` changes when a node of a cluster is promoted.
    """
    try:
        _check(connection, key, generation)
    except BaseException:
        connection.disconnect()  # otherwise the pool would hand it out unchecked
        raise


def empty(connection: Any, key: str) -> None:
    """Delete all data of this run."""
    found = _call(connection, "flush", key)
    if isinstance(found, bytes):
        _delete_in_steps(connection, key, b"", deadline=None)


def _check(connection: Any, key: str, generation: str) -> None:
    found = _call(connection, "check", key)
    mark = ""
    if found == _RUN_UNKNOWN:
        mark = _mark(connection, generation)
        if _is_marked(connection, mark):
            return
        found = _call(connection, "empty", key)
    if isinstance(found, bytes):
        _delete_in_steps(connection, key, found, time.monotonic() + _DELETE_SECONDS)
        _log.warning("redis.another_run", keys_dropped=None)
    elif found > 0:
        _log.warning("redis.another_run", keys_dropped=found)
    if mark:
        _ask(connection, "SCRIPT", "LOAD", mark)


def _call(connection: Any, what: Literal["check", "empty", "flush"], key: str) -> Any:
    return _ask(connection, "EVAL", CHECK_RUN.text, 1, key, what, _LAYOUT)


def _delete_in_steps(connection: Any, key: str, run: bytes, deadline: float | None) -> None:
    cursor = b"0"
    while True:
        args = (1, key, cursor, run, *BEGINNINGS)
        cursor = _ask(connection, "EVAL", DELETE_STEP.text, *args)
        if cursor == b"0":
            return
        if deadline is not None and time.monotonic() > deadline:
            raise BeingEmptied


def _mark(connection: Any, generation: str) -> str:
    """Return the text of the script that marks this run. Each database has a mark of its own.

    A server that is a replica loses its mark, because it may become a primary again with the data
    of another one. Raises `redis.ReadOnlyError` then.
    """
    about = _ask(connection, "HELLO")
    if b"replica" in about or b"slave" in about:
        _ask(connection, "SCRIPT", "FLUSH")
        raise redis.ReadOnlyError("the server is a replica")
    database = getattr(connection, "db", 0) or 0
    return f"return 'feedsvc {_LAYOUT} {database} {generation}'"


def _is_marked(connection: Any, mark: str) -> bool:
    digest = hashlib.sha1(mark.encode(), usedforsecurity=False).hexdigest()
    return bool(_ask(connection, "SCRIPT", "EXISTS", digest)[0])


def _ask(connection: Any, *command: Any) -> Any:
    connection.send_command(*command)
    return connection.read_response()
