"""List the commands that a server has to allow, and find the commands that it forbids.

docs/operations.md has the same list as a line for the server's access list.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

import redis

from feedsvc.errors import FeedsvcError
from feedsvc.redis_address import CLUSTER
from feedsvc.store.redis.client import plain_nodes
from feedsvc.store.redis.cluster import connected
from feedsvc.store.redis.faults import CLIENT_ERRORS, code_of
from feedsvc.store.redis.keys import BEGINNINGS, SIGN_OF_LIFE

if TYPE_CHECKING:
    from collections.abc import Sequence

# One harmless call of each command. The key holds a string. So a command for another type fails
# because of the type, and not because of missing rights. The order matters: the first call makes
# the key, and the last calls delete it.
_KEY = SIGN_OF_LIFE
_NO_SCRIPT = "0" * 40
NEEDED: tuple[tuple[Any, ...], ...] = (
    ("SET", _KEY, 1, "EX", 10),
    ("DBSIZE",),
    ("EVAL", "return 1", 0),
    ("EVALSHA", _NO_SCRIPT, 0),
    ("EXISTS", _KEY),
    ("EXPIRE", _KEY, 10),
    ("GET", _KEY),
    ("HDEL", _KEY, "a"),
    ("HGET", _KEY, "a"),
    ("HGETALL", _KEY),
    ("HINCRBY", _KEY, "a", "no number"),
    ("HSCAN", _KEY, 0),
    ("HSET", _KEY, "a", "a"),
    ("LINDEX", _KEY, 0),
    ("LLEN", _KEY),
    ("LPUSHX", _KEY, "a"),
    ("LRANGE", _KEY, 0, 0),
    ("LREM", _KEY, 0, "a"),
    ("LSET", _KEY, 0, "a"),
    ("LTRIM", _KEY, 0, 0),
    ("MGET", _KEY),
    ("MULTI",),
    ("EXEC",),
    ("RPOP", _KEY),
    ("RPUSH", _KEY, "a"),
    ("SADD", _KEY, "a"),
    ("SCAN", 0, "COUNT", 1),
    ("SCARD", _KEY),
    ("SCRIPT", "EXISTS", _NO_SCRIPT),
    ("SCRIPT", "LOAD", "return 1"),
    ("TIME",),
    ("TTL", _KEY),
    ("ZADD", _KEY, "no number", "a"),
    ("ZCARD", _KEY),
    ("ZINCRBY", _KEY, "no number", "a"),
    ("ZMSCORE", _KEY, "a"),
    ("ZRANGEBYSCORE", _KEY, 0, 0),
    ("ZREM", _KEY, "a"),
    ("ZREMRANGEBYRANK", _KEY, 0, 0),
    ("ZSCORE", _KEY, "a"),
    ("DEL", _KEY),
    ("UNLINK", _KEY),
    *(("HDEL", beginning, "a") for beginning in BEGINNINGS),
)
_OF_A_CLUSTER = (("CLUSTER", "NODES"), ("CLUSTER", "SLOTS"))


class RedisRefuses(FeedsvcError):
    """Redis refuses the login, the database, or commands that the service needs."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"Redis cannot be used: {cause.rstrip('.')} (check FEEDSVC_REDIS_URL)")


def require(url: str) -> None:
    """Raise `RedisRefuses` if a server of the URL refuses the login or a needed command.

    A server that is away, or that refuses every command for a moment, passes.
    """
    names: dict[str, None] = {}
    for node in plain_nodes(url):
        with closing(node):
            names |= dict.fromkeys(forbidden(node, needed(url)))
    if names:
        raise RedisRefuses(
            f"it forbids the user {', '.join(names)}; docs/operations.md has the line that allows "
            "what the service needs"
        )


def needed(url: str) -> tuple[tuple[Any, ...], ...]:
    """Return the calls that every server of the URL has to allow."""
    return (*NEEDED, *(_OF_A_CLUSTER if url.startswith(CLUSTER) else ()))


def forbidden(node: redis.Redis, calls: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return what a server forbids of the calls: commands, keys and channels.

    A server that is away forbids nothing. Raises `RedisRefuses` if it refuses the login or the
    database.
    """
    try:
        with connected(node) as connection:
            connection.send_packed_command(connection.pack_commands(calls))
            refused = (_refused_part(connection, call) for call in calls)
            return list(dict.fromkeys(part for part in refused if part))
    except redis.AuthenticationError as error:
        raise RedisRefuses(f"it refuses the login: {error}") from None
    except redis.ResponseError as error:
        if code_of(error):
            return []
        raise RedisRefuses(str(error)) from None
    except CLIENT_ERRORS:
        return []


def _refused_part(connection: Any, call: tuple[Any, ...]) -> str | None:
    """Read the answer of a call. Return what the user may not use, or None."""
    try:
        connection.read_response()
    except redis.ResponseError as error:
        if code_of(error) != "NOPERM":
            return None
        part = re.search("access (?:a|one of the) (key|channel)", str(error))
        return f"the {part[1]} {call[1]}" if part else _name(call)
    return None


def _name(call: tuple[Any, ...]) -> str:
    return " ".join(call[:2]) if call[0] in ("SCRIPT", "CLUSTER") else str(call[0])
