"""The service's web server with one more endpoint, whose answer is constant.

`python -m benchmarks.constant HOST PORT PROCESSES`. A module of its own, because web workers
import it.
"""

from __future__ import annotations

from functools import cache

from flask import Flask, Response

from feedsvc.supervise import web, web_process

_bytes = cache("x".__mul__)


def make_app() -> Flask:
    """Return the service's application with `/constant/N`, which answers with N bytes.

    The answer passes through the same middleware as every other answer.
    """
    app = web_process.make_app()

    @app.get("/constant/<int:size>")
    def constant(size: int) -> Response:
        return Response(_bytes(size), content_type="application/json")

    return app


if __name__ == "__main__":
    web.main("benchmarks.constant:make_app")
