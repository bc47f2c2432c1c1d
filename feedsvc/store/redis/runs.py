"""Check on each new connection that the data are of this run of the server.

A server may come back with older data, after a restart from a snapshot or a failover to a replica
that lagged. Its views then look valid and are not. So the data contain the id of the server's run
under which they were written. Before its first command, each new connection compares this id with
the server's run id. If the two differ, all data are deleted in the same atomic step. A restart and
a failover end every connection, so every process connects anew.

A server may forbid `FLUSHDB`. The keys of the service are then deleted in steps. Until the last
step the server has no run id, so no connection reads from it.

A server may forbid `INFO`, which tells the run. The data then contain a random identity, and the
server's cache of scripts contains a mark with the same identity. A snapshot has no cache of
scripts, and a replica does not get the cache of its primary. So data with another identity than the
cache's marks are old.
"""

from __future__ import annotations

import hashlib
import secrets
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
# A connection deletes keys for this long. Then it gives up, and the next connection goes on.
_DELETE_SECONDS = 1.0
# Answers of `check_run.lua`.
_NOTHING_DELETED, _RUN_UNKNOWN = -1, -2

_log = structlog.get_logger()


class BeingEmptied(redis.ConnectionError):
    """Some data of another run of the server are not deleted yet."""

    def __init__(self) -> None:
        super().__init__("data of an earlier run of the server are being deleted")


def check(connection: Any, key: str, generation: str = "") -> None:
    """Delete all data if they were written under another run.

    `key` holds the id of the run. `generation` changes when a node of a cluster is promoted.
    """
    try:
        _check(connection, key, generation)
    except BaseException:
        connection.disconnect()  # otherwise the pool would hand it out unchecked
        raise


def empty(connection: Any, key: str) -> None:
    """Delete all data of this run."""
    found = _call(connection, key, "flush")
    if isinstance(found, bytes):
        _delete_in_steps(connection, key, b"", deadline=None)


def _check(connection: Any, key: str, generation: str) -> None:
    found = _call(connection, key, "check")
    while found == _RUN_UNKNOWN:
        found = _check_mark(connection, key, generation)
    if isinstance(found, bytes):
        _delete_in_steps(connection, key, found, time.monotonic() + _DELETE_SECONDS)
        _log.warning("redis.another_run", keys_dropped=None)
    elif found > 0:
        _log.warning("redis.another_run", keys_dropped=found)


def _check_mark(connection: Any, key: str, generation: str) -> Any:
    """Check the run by its mark, where `INFO` is forbidden. Returns an answer of the script.

    The mark is loaded before its identity is stored, so a stored identity of this run has its mark.
    """
    _refuse_replica(connection)
    stored = (_ask(connection, "GET", key) or b"").decode()
    if stored and _is_loaded(connection, _mark(generation, stored)):
        return _NOTHING_DELETED
    run = f"marked {secrets.token_hex(8)}"
    _ask(connection, "SCRIPT", "LOAD", _mark(generation, run))
    return _call(connection, key, "replace", run, stored)


def _call(connection: Any, key: str, mode: Literal["check", "replace", "flush"], *runs: str) -> Any:
    return _ask(connection, "EVAL", CHECK_RUN.text, 1, key, mode, _LAYOUT, *runs)


def _delete_in_steps(connection: Any, key: str, run: bytes, deadline: float | None) -> None:
    cursor = b"0"
    while True:
        args = (1, key, cursor, run, *BEGINNINGS)
        cursor = _ask(connection, "EVAL", DELETE_STEP.text, *args)
        if cursor == b"0":
            return
        if deadline is not None and time.monotonic() > deadline:
            raise BeingEmptied


def _refuse_replica(connection: Any) -> None:
    """Raise `redis.ReadOnlyError` if the server is a replica.

    Its marks are removed too. It may become a primary again, with older data of its own.
    """
    about = _ask(connection, "HELLO")
    if b"replica" in about or b"slave" in about:
        _ask(connection, "SCRIPT", "FLUSH")
        raise redis.ReadOnlyError("the server is a replica")


def _mark(generation: str, run: str) -> str:
    """Return the text of the script that marks a run. The script is loaded and never called."""
    return f"return 'feedsvc {_LAYOUT} {generation} {run}'"


def _is_loaded(connection: Any, script: str) -> bool:
    digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    return bool(_ask(connection, "SCRIPT", "EXISTS", digest)[0])


def _ask(connection: Any, *command: Any) -> Any:
    connection.send_command(*command)
    return connection.read_response()
