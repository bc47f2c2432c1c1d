"""The Flask application: the HTTP layer over the services of one process."""

from __future__ import annotations

import atexit
import re
import secrets
from typing import TYPE_CHECKING, Any

import structlog
from flask import Flask, g, request
from flask_cors import CORS

from feedsvc import logs
from feedsvc.api import problems, public
from feedsvc.api.auth import Authenticator
from feedsvc.api.openapi import GROUPS
from feedsvc.api.operations import MAX_BODY_BYTES
from feedsvc.console.site import make_site
from feedsvc.services import open_services
from feedsvc.settings import load_settings

if TYPE_CHECKING:
    from typing import Self

    from flask import Response

    from feedsvc.metrics import Metrics
    from feedsvc.services import Services

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_EXPOSED_HEADERS = [
    "Link",
    "Location",
    "ETag",
    "Retry-After",
    "X-Request-ID",
    "Idempotency-Replayed",
    "WWW-Authenticate",
]


class Application(Flask):
    """The service's Flask application. It closes its services at the end of a `with` block.

    Without `close` it closes them when the process exits. A closed application answers no more
    requests; `create_app` opens another one on the same settings.
    """

    def __init__(self, services: Services) -> None:
        """Serve these opened services."""
        super().__init__("feedsvc", static_folder=None)
        self.extensions["feedsvc"] = services
        self._services = services
        atexit.register(services.close)

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
    loaded = load_settings(**settings)
    logs.configure()
    services = open_services(loaded)
    app = Application(services)
    # Werkzeug cuts a chunked body at this length and does not refuse it. With one byte more than
    # the limit a body that is too long can still be recognised.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
    app.url_map.strict_slashes = False
    authenticator = Authenticator(loaded, services.jwt_secret)
    app.extensions["feedsvc.authenticator"] = authenticator
    _add_request_hooks(app, authenticator, services.metrics)
    app.register_error_handler(Exception, problems.answer_to)
    app.register_blueprint(public.blueprint)
    app.register_blueprint(make_site())
    for group in GROUPS:
        group.register(app)
    if loaded.cors_origins:
        CORS(
            app,
            resources={r"/v1/.*": {"origins": list(loaded.cors_origins)}},
            expose_headers=_EXPOSED_HEADERS,
            max_age=600,
        )
    return app


def _add_request_hooks(app: Flask, authenticator: Authenticator, metrics: Metrics) -> None:
    @app.before_request
    def identify() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.before_request
    def authenticate() -> None:
        # The token is checked before the path: a caller without one learns nothing about the
        # addresses under /v1. A browser's preflight request carries no token.
        is_preflight = (
            request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        )
        if request.path.startswith("/v1") and not is_preflight:
            g.caller = authenticator.caller(request.authorization)

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.get("request_id", "")
        route = request.url_rule.rule if request.url_rule else "none"
        metrics.http_requests.labels(request.method, route, str(response.status_code)).inc()
        return response
