"""The web server: `python -m feedsvc.supervise.web HOST PORT PROCESSES`."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from granian.server import Server

from feedsvc.supervise import orphans

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from flask import Flask

_THREADS = 4
_DRAIN_SECONDS = 5
# A worker learns from it whose child it is: its server may be dead before it can ask.
_SERVER_PID = "_FEEDSVC_WEB_SERVER_PID"


def make_app() -> Flask:
    """The application, in a web worker, which ends with its server."""
    from feedsvc.app import create_app  # noqa: PLC0415 -- only the workers need it

    orphans.watch(int(os.environ[_SERVER_PID]))
    app = create_app()
    gc.collect()
    gc.freeze()  # what is there now stays: looking through it again and again is a tenth of a read
    answer = app.wsgi_app

    def terminated(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # This server ends the input where a chunked body ends; without the word of one, Werkzeug reads none of it.
        return answer({**environ, "wsgi.input_terminated": True}, start_response)

    app.wsgi_app = terminated  # type: ignore[method-assign]
    return app


def main() -> None:
    """Serve until told to stop."""
    host, port, processes = sys.argv[1:]
    serve("feedsvc.supervise.web:make_app", host, int(port), int(processes))


def serve(make: str, host: str, port: int, processes: int) -> None:
    """Serve what the factory of this name makes (it calls `make_app`) until told to stop, or until our parent is gone."""
    orphans.watch(os.getppid())
    os.environ[_SERVER_PID] = str(os.getpid())
    server = Server(
        make,
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
    )
    server.serve()


if __name__ == "__main__":
    main()
