"""The web server with a constant answer beside the service's own: `python -m benchmarks.constant HOST PORT PROCESSES`."""

from __future__ import annotations

import sys
from functools import cache

from flask import Flask, Response

from feedsvc.supervise import web

_bytes = cache("x".__mul__)


def make_app() -> Flask:
    """What a web worker serves: `/constant/N` answers with N bytes, through all that any answer goes through."""
    app = web.make_app()

    @app.get("/constant/<int:size>")
    def constant(size: int) -> Response:
        return Response(_bytes(size), content_type="application/json")

    return app


if __name__ == "__main__":
    web.serve("benchmarks.constant:make_app", sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
