"""The Flask application: the HTTP layer over the services of one process."""

from __future__ import annotations

import atexit
import re
import secrets
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import structlog
from flask import Flask, Request, g, request

from feedsvc import logs
from feedsvc.api import cors, problems, public
from feedsvc.api.addresses import as_clients_see_it, require_host
from feedsvc.api.answers import PROTECTION, answer_nothing
from feedsvc.api.auth import Authenticator
from feedsvc.api.openapi import GROUPS
from feedsvc.api.operations import MAX_BODY_BYTES
from feedsvc.api.readiness import Readings
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
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
# The methods that are counted by name. Anybody can invent others.
_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))


class _Request(Request):
    """A request whose body ends where its `Content-Length` says, or is refused.

    Some servers say that they end the input. They also end it where a client has gone away, and
    only the length tells the two apart. Werkzeug does not compare it if the server says so.
    """

    def __init__(self, environ: WSGIEnvironment, *more: Any, **options: Any) -> None:
        """Read the environment of a WSGI server."""
        if environ.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" not in environ:
            environ.pop("wsgi.input_terminated", None)
        elif environ.get("SERVER_SOFTWARE") == "Granian":
            # Granian ends a chunked body that is cut off like a whole one, and nothing tells the
            # two apart. Without the mark Werkzeug reads no chunked body.
            environ.pop("wsgi.input_terminated", None)
        super().__init__(environ, *more, **options)

    def discard_body(self) -> None:
        """Read what is left of a body that is too large, so that its client can read the answer.

        A client sends its whole body before it reads. Servers close a connection on which something
        is unread, and the client would see a broken pipe. Stops at 32 MiB.
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
    """The service's Flask application. It closes its services at the end of a `with` block.

    Without `close` it closes them when the process exits. A closed application answers no more
    requests; `create_app` opens another one on the same settings.
    """

    request_class = _Request

    def __init__(self, services: Services) -> None:
        """Serve these opened services."""
        super().__init__("feedsvc", static_folder=None)
        self.extensions["feedsvc"] = services
        self._services = services
        atexit.register(services.close)

    def make_default_options_response(self) -> Response:
        """Return the methods of an address, without Flask's media type of a page."""
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
    environment. A part that no setting names is embedded: with a `data_dir` of its own an
    application needs nothing else, and shares nothing with another one. In a `with` statement it is
    closed at the end of the block. Raises `FeedsvcError`.
    """
    logs.configure_inside_host()
    loaded = load_settings(for_tokens=True, **settings)
    services = open_services(loaded)
    services.stores.sql.serve_requests()
    app = Application(services)
    # Werkzeug cuts a chunked body at this length and does not refuse it. With one byte more than
    # the limit a body that is too long can still be recognised.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
    app.url_map.strict_slashes = False
    # A path with an empty part is no address of the service. Werkzeug would redirect with a page.
    app.url_map.merge_slashes = False
    authenticator = Authenticator(loaded, services.jwt_secret)
    app.extensions["feedsvc.authenticator"] = authenticator
    app.extensions["feedsvc.readings"] = Readings(services)
    _add_request_hooks(app, authenticator, services.metrics, loaded.cors_origins)
    app.register_error_handler(Exception, problems.answer_to)
    app.register_blueprint(public.blueprint)
    app.register_blueprint(make_site())
    for group in GROUPS:
        group.register(app)
    app.wsgi_app = as_clients_see_it(app.wsgi_app, loaded)  # type: ignore[assignment]
    return app


def _add_request_hooks(
    app: Flask, authenticator: Authenticator, metrics: Metrics, origins: tuple[str, ...]
) -> None:
    @app.before_request
    def identify() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
        # The program around the service may have a context of its own: bind and reset one key.
        g.log_context = structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.before_request
    def authenticate() -> Response | None:
        require_host()
        if not _is_api(request.path):
            return None
        # A preflight carries no token. It is answered also where nothing is, so that the page can
        # read the 404.
        if cors.is_preflight():
            return answer_nothing(200)
        # The token is checked before the path: a caller without one learns nothing about the
        # addresses under /v1.
        g.caller = authenticator.caller(request.authorization)
        return None

    @app.teardown_request
    def reset_log_context(_error: BaseException | None) -> None:
        structlog.contextvars.reset_contextvars(**g.pop("log_context", {}))

    @app.after_request
    def finish(response: Response) -> Response:
        # Werkzeug's `setdefault` raises and catches an exception for each header that is not there.
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
