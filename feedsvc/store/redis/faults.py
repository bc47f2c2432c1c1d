"""Which errors of the Redis client mean that Redis is down or refuses to work.

They leave this folder as one kind of error, `StoreUnavailable("Redis", cause)`. Every other error
of the client is a mistake of this service, and stays as it is.
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

# Errors of the client without an answer of a server, or of a cluster that misses a node.
_NO_ANSWER = (
    redis.ConnectionError,
    redis.TimeoutError,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
)

# The codes of a server that refuses writes, and still reads.
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
# How servers say without a code that a script may not run a command, or that it was renamed.
_FORBIDDEN = re.compile(
    r"user executing the script can't|ACL failure|unknown (redis )?command", re.IGNORECASE
)


class WriteRefused(StoreUnavailable):
    """Redis refuses a write, and may still answer reads. Nothing was written."""

    def __init__(self, cause: str) -> None:
        super().__init__("Redis", cause)


def fault_of(error: Exception) -> StoreUnavailable | None:
    """Return the error that features see; None if the error is a mistake of this service."""
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
    """Raise the error that features see, or the error itself if it is a mistake of this service.

    A server that became a replica keeps its connections. They are dropped here, so that the next
    command reaches the new primary, or is checked on a new connection (`runs`).
    """
    if code_of(error) == "READONLY":
        drop_connections()
    fault = fault_of(error)
    if fault is None:
        raise error
    raise fault from error
