"""Run the web server: `python -m feedsvc.supervise.web HOST PORT PROCESSES`."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from granian.server import Server

from feedsvc.supervise.children import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from flask import Flask

_THREADS = 4
_DRAIN_SECONDS = 5
# The server hands its pid to its workers. A worker that asks for its parent may ask too late: the
# server can be dead before the worker has started.
_SERVER_PID = "_FEEDSVC_WEB_SERVER_PID"


def make_app() -> Flask:
    """Make the application of one web worker, which ends with its server."""
    from feedsvc.app import create_app  # noqa: PLC0415 -- only the workers need it

    end_with_parent(int(os.environ[_SERVER_PID]))
    app = create_app()
    # The objects of a started application stay for ever. Each collection that visits them again
    # costs a tenth of a read.
    gc.collect()
    gc.freeze()
    answer = app.wsgi_app

    def terminated(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Granian ends the input where a chunked body ends. Werkzeug reads no chunked body unless
        # the environment says so.
        return answer({**environ, "wsgi.input_terminated": True}, start_response)

    app.wsgi_app = terminated  # type: ignore[method-assign]
    return app


def serve(factory: str, host: str, port: int, processes: int) -> None:
    """Serve the application of `factory` until a signal.

    `factory` names a function, `module:function`, that calls `make_app`.
    """
    os.environ[_SERVER_PID] = str(os.getpid())
    Server(
        factory,
        factory=True,
        address=host,
        port=port,
        interface="wsgi",  # type: ignore[arg-type]
        workers=processes,
        blocking_threads=_THREADS,
        respawn_failed_workers=True,
        respawn_interval=1.0,
        workers_kill_timeout=_DRAIN_SECONDS,
        log_access=False,
    ).serve()


if __name__ == "__main__":
    end_with_parent(os.getppid())
    serve("feedsvc.supervise.web:make_app", sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
