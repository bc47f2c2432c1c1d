"""The web server: `python -m feedsvc.supervise.web HOST PORT PROCESSES`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from granian.server import Server

from feedsvc.supervise import orphans

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from flask import Flask

_THREADS = 8
_DRAIN_SECONDS = 5


def make_app() -> Flask:
    """The application, in a web worker, which ends with its server."""
    from feedsvc.app import create_app  # noqa: PLC0415 -- only the workers need it

    orphans.watch()
    app = create_app()
    answer = app.wsgi_app

    def terminated(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # This server ends the input where a chunked body ends; without the word of one, Werkzeug reads none of it.
        return answer({**environ, "wsgi.input_terminated": True}, start_response)

    app.wsgi_app = terminated  # type: ignore[method-assign]
    return app


def main() -> None:
    """Serve until told to stop."""
    orphans.watch()
    host, port, processes = sys.argv[1:]
    server = Server(
        "feedsvc.supervise.web:make_app",
        factory=True,
        address=host,
        port=int(port),
        interface="wsgi",  # type: ignore[arg-type]
        workers=int(processes),
        blocking_threads=_THREADS,
        respawn_failed_workers=True,
        respawn_interval=1.0,
        workers_kill_timeout=_DRAIN_SECONDS,
        log_access=False,
    )
    server.serve()


if __name__ == "__main__":
    main()
