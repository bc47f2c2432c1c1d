"""The Flask application: the HTTP layer over the services of one process."""

from __future__ import annotations

import atexit
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import structlog
from flask import Flask, Request, g, request

from feedsvc import logs
from feedsvc.api import cors, problems, public
from feedsvc.api.addresses import require_host, with_client_urls
from feedsvc.api.answers import PROTECTION, answer_nothing, request_id
from feedsvc.api.auth import Authenticator
from feedsvc.api.openapi import GROUPS
from feedsvc.api.operations import MAX_BODY_BYTES
from feedsvc.api.readiness import ReadinessChecks
from feedsvc.console.site import make_site
from feedsvc.services import open_services
from feedsvc.settings import load_settings

if TYPE_CHECKING:
    from typing import Self
    from wsgiref.types import WSGIEnvironment

    from flask import Response

    from feedsvc.metrics import Metrics
    from feedsvc.services import Services

_DISCARDED_BYTES = 32 * 1_048_576
# The labels of the metrics. A client may send any word as a method; metrics call it `other`.
_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))


class _Request(Request):
    """A request that refuses a body shorter than its `Content-Length`.

    A server sets the mark `wsgi.input_terminated` if it ends the input itself. It also ends the
    input when a client disconnects in the middle of the body. Werkzeug compares the length only
    without the mark, so the mark is removed.
    """

    def __init__(self, environ: WSGIEnvironment, *more: Any, **options: Any) -> None:
        """Read the environment of a WSGI server."""
        has_length = environ.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" not in environ
        # Granian ends a truncated chunked body like a complete one. Without the mark Werkzeug reads
        # no chunked body at all.
        if has_length or environ.get("SERVER_SOFTWARE") == "Granian":
            environ.pop("wsgi.input_terminated", None)
        super().__init__(environ, *more, **options)

    def discard_body(self) -> None:
        """Read the rest of a body that is too large, up to 32 MiB.

        Many clients send the whole body before they read the answer. If the server closed the
        connection earlier, the client would see a broken pipe instead of the 413.
        """
        stream, left = self.environ["wsgi.input"], _DISCARDED_BYTES
        if self.content_length is not None:
            left = min(left, self.content_length)
        elif "wsgi.input_terminated" not in self.environ:
            return
        with suppress(OSError):
            while left > 0 and (part := stream.read(min(left, 65_536))):
                left -= len(part)


class Application(Flask):
    """The service's Flask application. `close`, or the end of a `with` block, closes its services.

    Otherwise they are closed when the process exits. A closed application answers no more requests.
    `create_app` opens another one on the same settings.
    """

    request_class = _Request

    def __init__(self, services: Services) -> None:
        """Serve the opened services."""
        super().__init__("feedsvc", static_folder=None)
        self.extensions["feedsvc"] = services
        self._services = services
        atexit.register(services.close)

    def make_default_options_response(self) -> Response:
        """Return the allowed methods of a path, without Flask's HTML media type."""
        answer = answer_nothing(200)
        answer.allow.update(super().make_default_options_response().allow)
        return answer

    def close(self) -> None:
        """Close the services. A second call does nothing."""
        atexit.unregister(self._services.close)
        self._services.close()

    def __enter__(self) -> Self:
        """Return the application."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the services."""
        self.close()


def create_app(**settings: Any) -> Application:
    """Create a Flask application with a whole service behind it.

    The keywords are the names of the settings, in lower case and without prefix. They override the
    environment. The database, Redis and the broker are embedded unless a setting names them. Two
    applications with different values of `data_dir` share nothing. Use a `with` statement to close
    the application at the end of the block. Raises `FeedsvcError`.
    """
    logs.configure_inside_host()
    loaded = load_settings(for_tokens=True, **settings)
    services = open_services(loaded)
    services.stores.sql.serve_requests()
    app = Application(services)
    # Werkzeug truncates a chunked body at this length without an error. The extra byte shows that
    # the body was longer than the limit.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
    app.config["CORS_ORIGINS"] = loaded.cors_origins
    app.url_map.strict_slashes = False
    # Answer a path with `//` with a 404. By default Werkzeug redirects, with an HTML page.
    app.url_map.merge_slashes = False
    authenticator = Authenticator(loaded, services.jwt_secret)
    app.extensions["feedsvc.authenticator"] = authenticator
    app.extensions["feedsvc.readiness"] = ReadinessChecks(services)
    _add_request_hooks(app, authenticator, services.metrics, loaded.cors_origins)
    app.register_error_handler(Exception, problems.answer_to)
    app.register_blueprint(public.blueprint)
    app.register_blueprint(make_site())
    for group in GROUPS:
        group.register(app)
    app.wsgi_app = with_client_urls(app.wsgi_app, loaded)  # type: ignore[assignment]
    return app


def _add_request_hooks(
    app: Flask, authenticator: Authenticator, metrics: Metrics, origins: tuple[str, ...]
) -> None:
    @app.before_request
    def identify() -> None:
        g.request_id = request_id(request.headers.get("X-Request-ID", ""))
        # A host application may have a log context of its own, so bind and reset only one key.
        g.log_context = structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.before_request
    def authenticate() -> Response | None:
        require_host()
        if not _is_api(request.path):
            return None
        # A preflight carries no token. It succeeds on unknown paths too, so that the page can send
        # its request and read the 404.
        if cors.is_preflight():
            return answer_nothing(200)
        # Check the token before the path, so that a caller without a token learns nothing about the
        # paths under /v1.
        g.caller = authenticator.caller(request.authorization)
        return None

    @app.teardown_request
    def reset_log_context(_error: BaseException | None) -> None:
        structlog.contextvars.reset_contextvars(**g.pop("log_context", {}))

    @app.after_request
    def finish(response: Response) -> Response:
        # Avoid Werkzeug's `setdefault`: it raises and catches an exception for each absent header.
        given = {name for name, _ in response.headers}
        response.headers.extend(
            [("X-Request-ID", g.get("request_id", ""))]
            + [header for header in PROTECTION if header[0] not in given]
        )
        if origins and _is_api(request.path):
            cors.allow(response, origins)
        if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            cast("_Request", request).discard_body()
        route = request.url_rule.rule if request.url_rule else "none"
        method = request.method if request.method in _METHODS else "other"
        metrics.http_requests.labels(method, route, str(response.status_code)).inc()
        return response


def _is_api(path: str) -> bool:
    return path == "/v1" or path.startswith("/v1/")
