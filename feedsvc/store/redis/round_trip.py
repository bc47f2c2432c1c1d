"""One round trip to Redis that asks several questions, some of them in a fixed order.

trip = RoundTrip(redis)
relations = trip.ask("GET", "relations:7")
trip.then()
ids = trip.ask("LRANGE", "homefeed:7", 0, -1)
trip.run()
relations.value, ids.value
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hiredis import pack_command
from redis import exceptions

from feedsvc.store.redis.cluster import Cluster, connected, node_of
from feedsvc.store.redis.faults import CLIENT_ERRORS, WriteRefused, fault_of, raise_fault
from feedsvc.store.redis.scripts import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.scripts import Script
    from feedsvc.store.redis.single_server import SingleServer

    # A key, which says which node gets the command, and the packed command.
    Call = tuple[str, bytes]

T = TypeVar("T")


@dataclass(slots=True)
class Answer(Generic[T]):
    """The answer to one question. It has a `value` only after its round trip has run."""

    command: tuple[Any, ...]
    options: dict[str, Any]
    parse: Callable[[Any], T] | None
    value: T = field(init=False)

    def take(self, answer: Any) -> None:
        """Set the value from the answer of the server."""
        self.value = answer if self.parse is None else self.parse(answer)


class RoundTrip:
    """Commands that are sent together, in stages.

    A single server runs all stages in order in one round trip. The nodes of a cluster keep no order
    between them, so on a cluster each stage is a round trip of its own, to all nodes at once.

    If a server lacks a script, all scripts are loaded and every command is sent again. If a
    connection fails, every command is sent once more on a new connection. So every command may run
    twice.

    Notes run after all stages. A note is a write that a read can do without, for example a new
    expiry. The trip succeeds even if the server refuses a note.
    """

    def __init__(self, redis: Redis, *, stop_on_error: bool = False) -> None:
        """Begin a trip without questions.

        `stop_on_error`: no stage runs if the server refused a write of an earlier stage. A cluster
        ends the trip at the stage that fails. A single server runs all stages in one transaction,
        for which it judges once whether it can write. In a plain pipeline a nearly full server may
        refuse one command and run the next one (docs/decisions/0017).
        """
        self._redis = redis
        self._stop_on_error = stop_on_error
        self._stages: list[list[Answer[Any]]] = [[]]
        self._notes: list[Answer[Any]] = []

    def ask(
        self, *command: Any, parse: Callable[[Any], T] | None = None, **options: Any
    ) -> Answer[T]:
        """Add a command to the current stage.

        `options` tell the client library how to read the answer, as its own methods do
        (`withscores=True`, `get=True`). `parse` turns the answer that the library returns into the
        value.
        """
        answer = Answer(command, options, parse)
        self._stages[-1].append(answer)
        return answer

    def script(
        self,
        script: Script,
        keys: Sequence[str],
        *args: Any,
        parse: Callable[[Any], T] | None = None,
    ) -> Answer[T]:
        """Add a call of a Lua script to the current stage."""
        return self.ask("EVALSHA", script.sha, len(keys), *keys, *args, parse=parse)

    def then(self) -> None:
        """Begin a stage: later questions run after all questions that were added before."""
        self._stages.append([])

    def note(self, *command: Any) -> None:
        """Add a write that the server may refuse. It has no answer."""
        self._notes.append(Answer(command, {}, None))

    def run(self) -> None:
        """Send all commands and set the value of every answer.

        Raises `StoreUnavailable`.
        """
        try:
            try:
                self._run()
            except exceptions.NoScriptError:
                for script in ALL:
                    self._redis.script_load(script.text)
                self._run()
        except CLIENT_ERRORS as error:
            raise_fault(error, self._redis.drop_connections)

    def _run(self) -> None:
        if isinstance(self._redis, Cluster):
            with self._redis.used():
                for stage in self._stages:
                    _run_on_nodes(self._redis, stage)
                _note_on_nodes(self._redis, self._notes)
        else:
            answers = [answer for stage in self._stages for answer in stage]
            _run_on_one(self._redis, answers, self._notes, stop_on_error=self._stop_on_error)


def read_strings(redis: Redis, keys: Sequence[str]) -> list[Any]:
    """Return strings in the order of their keys, in one round trip; None for an absent one."""
    trip = RoundTrip(redis)
    if isinstance(redis, Cluster):
        answers: list[Answer[Any]] = [trip.ask("GET", key) for key in keys]
        trip.run()
        return [answer.value for answer in answers]
    values: Answer[list[Any]] = trip.ask("MGET", *keys)
    trip.run()
    return values.value


def fresh_token() -> str:
    """Return a token that was never used before, for the marker of a view."""
    return secrets.token_hex(8)


def stream(redis: Redis, script: Script, calls: Callable[[], Iterable[Call]]) -> list[Any]:
    """Run a script once for each call of `calls`, in order, in one round trip; return the answers.

    Each call is sent as soon as it is made, before any answer is read. So the server works on one
    call while the next one is made (docs/decisions/0004 has the measurement). Every call may run
    twice. Raises `StoreUnavailable`.
    """
    try:
        with redis.used() if isinstance(redis, Cluster) else nullcontext():
            return _stream_twice(redis, script, calls)
    except CLIENT_ERRORS as error:
        raise_fault(error, redis.drop_connections)


def _stream_twice(redis: Redis, script: Script, calls: Callable[[], Iterable[Call]]) -> list[Any]:
    try:
        return _stream(redis, calls())
    except exceptions.NoScriptError:
        redis.script_load(script.text)
    except (exceptions.ConnectionError, exceptions.MovedError, exceptions.AskError):
        if not isinstance(redis, Cluster):
            raise
        redis.nodes_manager.initialize()
    return _stream(redis, calls())


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


def _run_on_nodes(redis: Cluster, stage: Sequence[Answer[Any]]) -> None:
    with redis.pipeline(transaction=False) as pipe:  # type: ignore[no-untyped-call]
        for answer in stage:
            pipe.execute_command(*answer.command, **answer.options)
        for answer, found in zip(stage, pipe.execute(), strict=True):
            answer.take(found)


def _note_on_nodes(redis: Cluster, notes: Sequence[Answer[Any]]) -> None:
    if not notes:
        return
    with redis.pipeline(transaction=False) as pipe:  # type: ignore[no-untyped-call]
        for note in notes:
            pipe.execute_command(*note.command)
        for found in pipe.execute(raise_on_error=False):
            if isinstance(found, Exception) and not isinstance(fault_of(found), WriteRefused):
                raise found


def _run_on_one(
    redis: SingleServer,
    answers: Sequence[Answer[Any]],
    notes: Sequence[Answer[Any]],
    *,
    stop_on_error: bool,
) -> None:
    """Send all commands to a single server and take their answers.

    With the library's `Pipeline.execute` a page takes 13 % more processor time
    (docs/decisions/0016).
    """
    commands = [answer.command for answer in answers]
    if stop_on_error:
        commands = [("MULTI",), *commands, ("EXEC",)]
    count = len(commands)
    commands += [note.command for note in notes]
    if not commands:
        return
    message = b"".join(map(pack_command, commands))
    found = redis.exchange(message, count, len(notes))
    if stop_on_error:
        found = _results(found[-1])
    callbacks = redis.response_callbacks
    for answer, raw in zip(answers, found, strict=True):
        convert = callbacks.get(answer.command[0])  # type: ignore[no-untyped-call]
        answer.take(raw if convert is None else convert(raw, **answer.options))


def _results(of_transaction: list[Any]) -> list[Any]:
    """Return the answers of a transaction. Raises the first error among them."""
    for answer in of_transaction:
        if isinstance(answer, Exception):
            raise answer
    return of_transaction
