"""Tell a Redis that is down or refuses commands from a mistake of this service.

The client's error decides. A fault of Redis leaves this folder as `StoreUnavailable("Redis",
cause)`. A mistake of this service keeps the client's error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import redis
from redis import exceptions

from feedsvc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

# The base classes of all errors of the client.
CLIENT_ERRORS = (redis.RedisError, exceptions.RedisClusterException)

# Errors of a client that got no answer from a server, or whose cluster lacks a node.
_NO_ANSWER = (
    redis.ConnectionError,
    redis.TimeoutError,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
)

# The codes of a server that refuses writes, and may still answer reads.
_REFUSE_WRITES = {
    "OOM": "its memory is full",
    "MISCONF": "it cannot save its data to its disk",
    "NOREPLICAS": "it has too few replicas",
    "READONLY": "it is a replica, or was a primary before a failover",
    "NOPERM": "it forbids a command",
}
# The codes of a server that refuses every command, or of a cluster that cannot answer now.
_REFUSE_ALL = {
    "BUSY": "it is busy with a script",
    "LOADING": "it is loading its data",
    "MASTERDOWN": "it is a replica without its primary",
    "CLUSTERDOWN": "a node of the cluster is down",
    "TRYAGAIN": "the cluster is moving keys",
}
# A code stands first, or inside the message of an older server about an error in a script or a
# transaction.
_CODE = re.compile(rf"(?:^|[-:] ?)({'|'.join({**_REFUSE_WRITES, **_REFUSE_ALL})})\b")
# Messages without a code: a script may not run a command, or the command was renamed.
_FORBIDDEN = re.compile(
    r"user executing the script can't|ACL failure|unknown (redis )?command", re.IGNORECASE
)


class WriteRefused(StoreUnavailable):
    """Redis refuses a command, and may still answer reads. The command wrote nothing."""

    def __init__(self, cause: str) -> None:
        super().__init__("Redis", cause)


def fault_of(error: Exception) -> StoreUnavailable | None:
    """Return the `StoreUnavailable` for a fault of Redis; None for a mistake of this service."""
    code = code_of(error)
    if code in _REFUSE_WRITES:
        named = f": {error}" if code == "NOPERM" else ""
        return WriteRefused(f"{_REFUSE_WRITES[code]} ({code}){named}")
    if code in _REFUSE_ALL:
        return StoreUnavailable("Redis", f"{_REFUSE_ALL[code]} ({code})")
    if isinstance(error, _NO_ANSWER):
        return StoreUnavailable("Redis", f"{type(error).__name__}: {error}")
    return None


def code_of(error: Exception) -> str:
    """Return the code with which the server refused a command; empty for other errors."""
    if not isinstance(error, redis.RedisError):
        return ""
    text = f"{error.status_code} {error}" if error.status_code else str(error)
    if _FORBIDDEN.search(text):
        return "NOPERM"
    found = _CODE.search(text)
    return found[1] if found else ""


def raise_fault(error: Exception, drop_connections: Callable[[], None]) -> NoReturn:
    """Raise the `StoreUnavailable` for a fault of Redis, or the error itself for a mistake.

    A server that became a replica keeps its connections. They are dropped here, so that the next
    command reaches the new primary, or is checked on a new connection (`runs`).
    """
    if code_of(error) == "READONLY":
        drop_connections()
    fault = fault_of(error)
    if fault is None:
        raise error
    raise fault from error
