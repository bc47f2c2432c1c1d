"""A client of one server of Redis or Valkey. Every command goes through `SingleServer.exchange`."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import redis
from hiredis import pack_command
from redis import exceptions

from feedsvc.store.redis.faults import CLIENT_ERRORS, WriteRefused, code_of, fault_of, raise_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feedsvc.store.redis.connection_pool import ServerPool


class SingleServer(redis.Redis):
    """A client whose commands raise `StoreUnavailable`."""

    def execute_command(self, *command: Any, **options: Any) -> Any:
        """Run one command of the library. It may have a name of several words."""
        name = command[0]
        options.pop("keys", None)  # only the library's own cache needs them
        message = pack_command((*str(name).split(), *command[1:]))
        try:
            [raw] = self.exchange(message, 1)
        except CLIENT_ERRORS as error:
            raise_fault(error, self.drop_connections)
        convert = self.response_callbacks.get(name)  # type: ignore[no-untyped-call]
        return raw if convert is None else convert(raw, **options)

    def exchange(self, message: bytes, count: int, notes: int = 0) -> list[Any]:
        """Send packed commands and return the first `count` answers.

        The last `notes` commands may be refused, and their answers are dropped. After a lost
        connection or a silent server all commands are sent once more. Raises the first error among
        the answers.
        """
        try:
            return self._exchange(message, count, notes)
        except (exceptions.ConnectionError, exceptions.TimeoutError, _Demoted):
            # A restarted server has dropped its connections. The library tries once more, too.
            return self._exchange(message, count, notes, is_repeat=True)

    def drop_connections(self) -> None:
        """Close the idle connections."""
        self.connection_pool.disconnect(inuse_connections=False)

    def _exchange(
        self, message: bytes, count: int, notes: int, *, is_repeat: bool = False
    ) -> list[Any]:
        """Exchange once. A context manager, as `cluster.connected` is one, would cost more."""
        pool = cast("ServerPool", self.connection_pool)
        connection = pool.get_connection()
        unread = iter(range(count + notes))
        try:
            connection.send_packed_command([message])
            found = [connection.read_response() for _ in islice(unread, count)]
            for _ in unread:
                self._read_note(connection, is_repeat=is_repeat)
        except exceptions.ResponseError:
            _skip(connection, unread)
            raise
        except BaseException as error:
            connection.disconnect()  # answers may still arrive on it
            if isinstance(error, exceptions.TimeoutError):
                pool.timed_out()
            raise
        finally:
            pool.release(connection)
        return found

    def _read_note(self, connection: Any, *, is_repeat: bool) -> None:
        """Read the answer to a note, which the server may refuse.

        A server that became a replica may have older data than the new primary. So all commands are
        sent again on a new connection, and the check of that connection refuses a replica.
        """
        try:
            connection.read_response()
        except exceptions.ResponseError as error:
            if code_of(error) == "READONLY" and not is_repeat:
                self.drop_connections()
                raise _Demoted from error
            if code_of(error) == "READONLY" or not isinstance(fault_of(error), WriteRefused):
                raise


def _skip(connection: Any, unread: Iterator[int]) -> None:
    """Read the other answers, so that the connection can be used again."""
    try:
        for _ in unread:
            with suppress(exceptions.ResponseError):
                connection.read_response()
    except BaseException:
        connection.disconnect()
        raise


class _Demoted(Exception):
    """A note was refused by a server that is no primary any more."""
