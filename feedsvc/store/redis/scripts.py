"""Every Lua script, loaded once from `lua/`. Each opens with its keys, arguments, result and invariant."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis.client import Pipeline

    from feedsvc.store.redis.client import Redis

    # keys, arguments
    Call = tuple[Sequence[str], Sequence[Any]]


@dataclass(frozen=True)
class Script:
    """One script, made of the parts it names, in their order."""

    parts: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        """The Lua source."""
        return "\n".join((files(__package__) / "lua" / f"{part}.lua").read_text() for part in self.parts)

    @cached_property
    def sha(self) -> str:
        """What the server knows it by."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def run(self, redis: Redis, keys: Sequence[str], *args: Any) -> Any:
        """Run it in a round trip of its own."""
        try:
            return redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return redis.eval(self.text, len(keys), *keys, *args)

    def queue(self, pipe: Pipeline, keys: Sequence[str], *args: Any) -> None:
        """Add it to a pipeline that `in_one_trip` runs."""
        pipe.evalsha(self.sha, len(keys), *keys, *args)


STORE_LEASED = Script(("store_leased",))
OPEN_LIST = Script(("open_list",))
FINISH_LIST = Script(("finish_list",))
DELIVER_SLICE = Script(("trim", "deliver_slice"))
PUT_POST = Script(("trim", "put_post"))
TAKE_OFF_POST = Script(("take_off_post",))
PUT_AUTHOR = Script(("put_author",))
REMOVE_AUTHOR = Script(("remove_author",))
OPEN_AUTHORS = Script(("open_authors",))
FINISH_AUTHORS = Script(("finish_authors",))

_ALL = (
    STORE_LEASED,
    OPEN_LIST,
    FINISH_LIST,
    DELIVER_SLICE,
    PUT_POST,
    TAKE_OFF_POST,
    PUT_AUTHOR,
    REMOVE_AUTHOR,
    OPEN_AUTHORS,
    FINISH_AUTHORS,
)


def in_one_trip(redis: Redis, queue: Callable[[Pipeline], None]) -> list[Any]:
    """Run what `queue` adds to a pipeline, in order, in one round trip; returns the answers.

    A server that has lost its scripts gets them again and the whole pipeline once more: every command queued may run twice.
    """
    try:
        return _execute(redis, queue)
    except NoScriptError:
        for script in _ALL:
            redis.script_load(script.text)
        return _execute(redis, queue)


def streamed(redis: Redis, script: Script, calls: Callable[[], Iterable[Call]]) -> list[Any]:
    """Run a script once for each call that `calls` makes, in order, in one round trip; returns the answers.

    Each call is sent as soon as it is made, and no answer is awaited in between: the server works on one while the next is made
    (docs/decisions/0004 has what that buys). Every call may run twice.
    """
    try:
        return _stream(redis, script, calls())
    except NoScriptError:
        redis.script_load(script.text)
        return _stream(redis, script, calls())


def fresh_token() -> str:
    """A token that no other builder has."""
    return secrets.token_hex(8)


def _stream(redis: Redis, script: Script, calls: Iterable[Call]) -> list[Any]:
    pool = redis.connection_pool
    connection = pool.get_connection()
    sent = 0
    try:
        for keys, args in calls:
            connection.send_command("EVALSHA", script.sha, len(keys), *keys, *args)  # type: ignore[no-untyped-call]
            sent += 1
        answers = [connection.read_response() for _ in range(sent)]
    except BaseException:
        connection.disconnect()  # type: ignore[no-untyped-call] # answers may still be under way: nobody else may read them
        raise
    finally:
        pool.release(connection)
    return answers


def _execute(redis: Redis, queue: Callable[[Pipeline], None]) -> list[Any]:
    with redis.pipeline(transaction=False) as pipe:
        queue(pipe)
        return pipe.execute()
