"""What needs no token: health, readiness, metrics, the OpenAPI document and the page to try it."""

from __future__ import annotations

from flask import Blueprint, Response, send_from_directory, url_for

from feedsvc.api.openapi import document
from feedsvc.api.operations import answer_json, services
from feedsvc.api.problems import problem
from feedsvc.errors import StoreUnavailable
from feedsvc.store.redis.client import UNAVAILABLE
from feedsvc.store.sql import migrate
from feedsvc.version import __version__

blueprint = Blueprint("service", __name__, static_folder="static", static_url_path="/docs/static")

# The page runs the scripts that are served beside it, and nothing else. Swagger UI sets styles on elements.
_DOCS_POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"


@blueprint.get("/")
def root() -> Response:
    """Whoever opens the bare address in a browser finds the page to try the service."""
    return Response(status=302, headers={"Location": url_for(".docs")})


@blueprint.get("/healthz")
def healthz() -> Response:
    """Alive."""
    return answer_json({"status": "ok", "version": __version__})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Whether the stores can be reached, and which cannot."""
    down = [
        name
        for name, reachable in (("database", _database_is_up()), ("Redis", _redis_is_up()))
        if not reachable
    ]
    if down:
        answer = problem(503, "Service unavailable", f"Cannot reach: {', '.join(down)}.", down=down)
        answer.headers["Retry-After"] = "2"
        return answer
    return answer_json({"status": "ready", "version": __version__})


@blueprint.get("/metrics")
def get_metrics() -> Response:
    """Counters."""
    return Response(
        services().metrics.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8"
    )


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The OpenAPI document."""
    return answer_json(document())


@blueprint.get("/docs")
def docs() -> Response:
    """A page to try the service."""
    page = send_from_directory(f"{blueprint.root_path}/static", "docs.html")
    page.headers["Content-Security-Policy"] = _DOCS_POLICY
    return page


def _database_is_up() -> bool:
    try:
        migrate.revisions(services().stores.sql)
    except StoreUnavailable:
        return False
    return True


def _redis_is_up() -> bool:
    try:
        return bool(services().stores.redis.ping())
    except UNAVAILABLE:
        return False
