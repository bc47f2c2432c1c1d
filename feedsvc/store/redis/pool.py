"""Connections that a process keeps at hand between one trip and the next.

A pool asks each connection that it hands out whether it is still alive, which costs a system call and a change of threads: a
fifteenth of what a page costs a web process. Here the trip itself tells: one that fails is made once more, on a connection of the
pool's. A connection that is open is one to the server's present run (see `client`): a restart ends them all.
"""

from __future__ import annotations

import os
from typing import Any

import redis


class Pool(redis.ConnectionPool):
    """A pool of which whoever can ask twice takes the connections that were used last, unasked. To the pool they are in use."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._at_hand: list[Any] = []

    def take(self) -> Any:
        """The connection that was put back last, dead or alive; without one, a living one."""
        try:
            connection = self._at_hand.pop()
        except IndexError:
            return self.get_connection()
        return (
            connection if connection.pid == os.getpid() else self.take()
        )  # a forked child leaves its parent's alone

    def put_back(self, connection: Any) -> None:
        """Keep a connection whose answers have all been read."""
        self._at_hand.append(connection)

    def give_up(self, connection: Any) -> None:
        """End a connection on which a trip went wrong, as answers may still be under way, and all that wait here: they may be dead too."""
        while True:
            connection.disconnect()
            self.release(connection)
            try:
                connection = self._at_hand.pop()
            except IndexError:
                return
