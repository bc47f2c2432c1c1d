"""Every Lua script, loaded once from `lua/`. Each opens with its keys, arguments, result and invariant."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from hiredis import pack_command
from redis import exceptions

from feedsvc.store.redis import packing
from feedsvc.store.redis.cluster import Cluster, connected, node_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis import Redis as SingleRedis
    from redis.client import Pipeline

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.pool import Pool

    # a key, which tells the node, and the command, packed
    Call = tuple[str, bytes]


@dataclass(frozen=True)
class Script:
    """One script, made of the parts it names, in their order."""

    parts: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        """The Lua source."""
        return "\n".join(
            (files(__package__) / "lua" / f"{part}.lua").read_text() for part in self.parts
        )

    @cached_property
    def sha(self) -> str:
        """What the server knows it by."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def run(self, redis: Redis, keys: Sequence[str], *args: Any) -> Any:
        """Run it in a round trip of its own."""
        try:
            return redis.evalsha(self.sha, len(keys), *keys, *args)
        except exceptions.NoScriptError:
            return redis.eval(self.text, len(keys), *keys, *args)

    def packed(self, key_count: int, keys: str, args: str, arg_count: int) -> bytes:
        """A call, of keys and arguments that are packed already."""
        return packing.command(
            3 + key_count + arg_count, packing.arguments("EVALSHA", self.sha, key_count), keys, args
        )

    def queue(self, pipe: Pipeline, keys: Sequence[str], *args: Any) -> None:
        """Add it to a pipeline that `in_one_trip` runs. A cluster's has no method for it."""
        pipe.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)  # type: ignore[no-untyped-call]


CHECK_RUN = Script(("check_run",))
STORE_LEASED = Script(("store_leased",))
OPEN_LIST = Script(("open_list",))
FINISH_LIST = Script(("finish_list",))
NOTE_REST = Script(("note_rest",))
DELIVER_SLICE = Script(("trim", "deliver_slice"))
PUT_POST = Script(("trim", "put_post"))
TAKE_OFF_POST = Script(("take_off_post",))
PUT_AUTHOR = Script(("put_author",))
REMOVE_AUTHOR = Script(("remove_author",))
OPEN_AUTHORS = Script(("open_authors",))
FINISH_AUTHORS = Script(("finish_authors",))
PUT_RECENT = Script(("begin_recent", "put_recent"))
OPEN_RECENT = Script(("begin_recent", "open_recent"))

_ALL = (
    STORE_LEASED,
    OPEN_LIST,
    FINISH_LIST,
    NOTE_REST,
    DELIVER_SLICE,
    PUT_POST,
    TAKE_OFF_POST,
    PUT_AUTHOR,
    REMOVE_AUTHOR,
    OPEN_AUTHORS,
    FINISH_AUTHORS,
    PUT_RECENT,
    OPEN_RECENT,
)


def in_one_trip(redis: Redis, *stages: Callable[[Pipeline], None]) -> list[Any]:
    """Run what each stage adds to a pipeline, one stage after the other, in one round trip; returns the answers.

    The nodes of a cluster keep no order between them, so there each stage is a trip of its own, to all nodes at once.
    A server that has lost its scripts gets them again and the whole pipeline once more: every command queued may run twice.
    """
    try:
        return _execute(redis, stages)
    except exceptions.NoScriptError:
        for script in _ALL:
            redis.script_load(script.text)
        return _execute(redis, stages)


def values_of(redis: Redis, names: Sequence[str]) -> list[Any]:
    """The values of these strings, in their order, in one round trip; None for one that is absent."""
    if isinstance(redis, Cluster):
        return redis.mget(names)

    def queue(pipe: Pipeline) -> None:
        pipe.mget(names)

    found: list[Any] = in_one_trip(redis, queue)[0]
    return found


def streamed(redis: Redis, script: Script, calls: Callable[[], Iterable[Call]]) -> list[Any]:
    """Run a script once for each call that `calls` makes, in order, in one round trip; returns the answers.

    Each call is sent as soon as it is made, and no answer is awaited in between: the server works on one while the next is made
    (docs/decisions/0004 has what that buys). Every call may run twice.
    """
    try:
        return _stream(redis, calls())
    except exceptions.NoScriptError:
        redis.script_load(script.text)
    except (exceptions.ConnectionError, exceptions.MovedError, exceptions.AskError):
        if not isinstance(redis, Cluster):
            raise
        redis.nodes_manager.initialize()
    return _stream(redis, calls())


def fresh_token() -> str:
    """A token that no other builder has."""
    return secrets.token_hex(8)


def _stream(redis: Redis, calls: Iterable[Call]) -> list[Any]:
    asked = []
    with ExitStack() as stack:
        connections: dict[Any, Any] = {}
        for key, command in calls:
            node = node_of(redis, key)
            if node not in connections:
                connections[node] = stack.enter_context(connected(node))
            connections[node].send_packed_command([command])
            asked.append(connections[node])
        return [connection.read_response() for connection in asked]


def _execute(redis: Redis, stages: Sequence[Callable[[Pipeline], None]]) -> list[Any]:
    if not isinstance(redis, Cluster):
        return _execute_at_once(redis, stages)
    answers: list[Any] = []
    with redis.pipeline(transaction=False) as pipe:  # type: ignore[no-untyped-call]
        for stage in stages:
            stage(pipe)
            answers += pipe.execute()
    return answers


def _execute_at_once(redis: SingleRedis, stages: Sequence[Callable[[Pipeline], None]]) -> list[Any]:
    """What `execute` of the pipeline does, without its way from command to command, which costs more than the trip."""
    with redis.pipeline(transaction=False) as pipe:
        for stage in stages:
            stage(pipe)
        commands = pipe.command_stack
    if not commands:
        return []
    message = b"".join(pack_command(args) for args, _ in commands)
    pool = cast("Pool", redis.connection_pool)
    try:
        connection = pool.take()
        try:
            answers = _ask(connection, message, len(commands))
        except BaseException:
            pool.give_up(connection)
            raise
        pool.put_back(connection)
    except (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
    ):  # as the client does: a restarted server has dropped connections
        with connected(redis) as connection:
            answers = _ask(connection, message, len(commands))
    return [
        _understood(redis, answer, *command)
        for answer, command in zip(answers, commands, strict=True)
    ]


def _understood(
    redis: SingleRedis, answer: Any, args: Sequence[Any], options: dict[str, Any]
) -> Any:
    """What the method of a client makes of an answer. `keys` is for a cache of the client's, which we do not use."""
    understand = redis.response_callbacks.get(args[0])  # type: ignore[no-untyped-call]
    return (
        answer
        if understand is None
        else understand(
            answer, **{name: value for name, value in options.items() if name != "keys"}
        )
    )


def _ask(connection: Any, message: bytes, count: int) -> list[Any]:
    connection.send_packed_command([message])
    return [connection.read_response() for _ in range(count)]
