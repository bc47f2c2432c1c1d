"""A TCP proxy between the service and a server."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress


class Proxy:
    """A TCP proxy in this process, which can swallow packets as a firewall does.

    `swallow_existing` makes the open connections dead without closing them; new ones work.
    `swallow_all` swallows also what new connections send. `passes` lets everything through again,
    except on connections that were made dead by `swallow_existing`.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._dead: set[socket.socket] = set()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._swallows = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def swallow_existing(self) -> None:
        self._dead |= set(self._peers)

    def swallow_all(self) -> None:
        self._swallows = True

    def passes(self) -> None:
        self._swallows = False

    def close(self) -> None:
        self._closed.set()
        self._thread.join(5)
        for each in [self._listener, *self._peers]:
            each.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            for key, _ in self._selector.select(0.05):
                self._serve(key.fileobj)

    def _serve(self, ready) -> None:
        if ready is self._listener:
            inside, _ = self._listener.accept()
            outside = socket.create_connection(("127.0.0.1", self._target))
            self._peers |= {inside: outside, outside: inside}
            for each in (inside, outside):
                self._selector.register(each, selectors.EVENT_READ)
            return
        if ready not in self._peers:  # closed a moment ago, with its peer
            return
        try:
            data = ready.recv(65536)
        except OSError:
            data = b""
        if self._swallows or ready in self._dead:
            if not data:
                self._selector.unregister(ready)
            return
        peer = self._peers[ready]
        with suppress(OSError):
            if data:
                peer.sendall(data)
                return
        for each in (ready, peer):
            with suppress(KeyError, ValueError):
                self._selector.unregister(each)
            self._peers.pop(each, None)
            each.close()
