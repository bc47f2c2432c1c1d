"""The Flask application: the HTTP layer over one process's services."""

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
    from flask import Response

    from feedsvc.metrics import Metrics
    from feedsvc.settings import Settings

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_EXPOSED = [
    "Link",
    "Location",
    "ETag",
    "Retry-After",
    "X-Request-ID",
    "Idempotency-Replayed",
    "WWW-Authenticate",
]


def create_app(**settings: Any) -> Flask:
    """A Flask application with a whole service behind it.

    The keywords are the settings' names without prefix, in lower case, on top of the environment. What is not set is embedded:
    with a `data_dir` of its own an application needs nothing else, and shares nothing with another one. Raises `FeedsvcError`.
    """
    loaded = load_settings(**settings)
    logs.configure()
    services = open_services(loaded)
    atexit.register(services.close)
    app = Flask("feedsvc", static_folder=None)
    # One byte more than is accepted: a chunked body is cut there, not refused, and must be seen to be too long.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
    app.extensions["feedsvc"] = services
    app.url_map.strict_slashes = False
    authenticator = Authenticator(loaded, services.jwt_secret)
    app.extensions["feedsvc.authenticator"] = authenticator
    _around_requests(app, authenticator, services.metrics)
    problems.register(app)
    app.register_blueprint(public.blueprint)
    app.register_blueprint(make_site())
    for group in GROUPS:
        group.register(app)
    _allow_origins(app, loaded)
    return app


def _around_requests(app: Flask, authenticator: Authenticator, metrics: Metrics) -> None:
    @app.before_request
    def identify() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.before_request
    def authenticate() -> None:
        # Before the address is judged: what exists under /v1 is nobody's business without a token.
        asks_leave = (
            request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        )  # a browser's preflight
        if request.path.startswith("/v1") and not asks_leave:
            g.caller = authenticator.caller(request.authorization)

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.get("request_id", "")
        route = request.url_rule.rule if request.url_rule else "none"
        metrics.http_requests.labels(request.method, route, str(response.status_code)).inc()
        return response


def _allow_origins(app: Flask, settings: Settings) -> None:
    if settings.cors_origins:
        CORS(
            app,
            resources={r"/v1/.*": {"origins": list(settings.cors_origins)}},
            expose_headers=_EXPOSED,
            max_age=600,
        )
