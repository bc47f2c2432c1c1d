"""One web process: uvicorn's server, which notices limits and drains."""

from __future__ import annotations

import asyncio
import logging
import resource
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvicorn

from feedsvc.front.bridge import Bridge
from feedsvc.front.connection import Clients, Connection

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from flask import Flask

_log = structlog.get_logger()

_SWEEP_SECONDS = 1.0
# Descriptors for everything else: stores, logs, metrics.
_OTHER_DESCRIPTORS = 128
_MOST_CONNECTIONS = 20_000
# A load balancer sees "not ready" for this long before connections are refused.
_NOTICE_SECONDS = 1.0
_DRAIN_SECONDS = 13
_BACKLOG = 1_024


class Server(uvicorn.Server):
    """The server of one process."""

    def __init__(self, app: Flask, threads: int) -> None:
        """Prepare to serve `app` with this many request threads."""
        self._clients = Clients(
            max_body_bytes=app.config["MAX_CONTENT_LENGTH"],
            most_connections=min(_MOST_CONNECTIONS, raise_descriptors() - _OTHER_DESCRIPTORS),
            origins=app.config.get("CORS_ORIGINS", ()),
        )
        self._bridge = Bridge(app, threads, self._clients.refused)
        super().__init__(
            uvicorn.Config(
                self._bridge,
                http=partial(Connection, self._clients),  # type: ignore[arg-type]
                ws="none",
                loop="uvloop",
                interface="asgi3",
                lifespan="off",
                backlog=_BACKLOG,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_DRAIN_SECONDS,
            )
        )
        self._clients.connections = self.server_state.connections  # type: ignore[assignment]
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).addHandler(_ToStructlog(logging.ERROR))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        self._sweep()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Say "not ready" for a while, then end when the requests under way have been answered."""
        asyncio.get_running_loop().call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._bridge.is_draining = True
        self._clients.linger_seconds = _NOTICE_SECONDS
        asyncio.get_running_loop().call_later(_NOTICE_SECONDS, setattr, self, "should_exit", True)

    def _sweep(self) -> None:
        """End overdue connections, and log what was counted, once a second."""
        loop = asyncio.get_running_loop()
        self._clients.end_overdue(loop.time())
        # One line a second, however many clients there are.
        if self._clients.evicted:
            _log.warning("front.connections_evicted", connections=self._clients.evicted)
        for status, times in self._clients.refused.items():
            _log.warning("front.requests_refused", status=status, requests=times)
        self._clients.evicted = 0
        self._clients.refused.clear()
        loop.call_later(_SWEEP_SECONDS, self._sweep)


class _ToStructlog(logging.Handler):
    """Write the errors of the server and its event loop as lines of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        _log.error("front.server_failed", cause=record.getMessage(), exc_info=record.exc_info)


def raise_descriptors() -> int:
    """Raise the limit of open descriptors as far as this process may, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1_048_576 if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
