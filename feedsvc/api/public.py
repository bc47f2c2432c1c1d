"""The paths that need no token: health, readiness, metrics, the OpenAPI document and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, request, send_from_directory
from werkzeug.exceptions import NotFound

from feedsvc.api.addresses import address
from feedsvc.api.answers import answer_json, answer_nothing
from feedsvc.api.openapi import document
from feedsvc.api.operations import services
from feedsvc.api.problems import problem
from feedsvc.version import __version__

if TYPE_CHECKING:
    from feedsvc.api.readiness import ReadinessChecks

blueprint = Blueprint("public", __name__, static_folder="static", static_url_path="/docs/static")

# The server in front sets this in the environment of a request while the process drains.
DRAINING = "feedsvc.draining"

# The page runs only the service's own scripts. Swagger UI sets styles on elements.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@blueprint.get("/")
def root() -> Response:
    """Redirect a browser from the root to the documentation."""
    answer = answer_nothing(302)
    answer.headers["Location"] = address("/docs")
    return answer


@blueprint.get("/healthz")
def healthz() -> Response:
    """Report that the process is alive."""
    return answer_json({"status": "ok", "version": __version__})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Report whether this process takes requests, and whether the stores take writes.

    `?stores=no` asks about the process alone.
    """
    if request.environ.get(DRAINING):
        return _not_ready("This process is about to end. Send requests to another one.")
    if request.args.get("stores") == "no":
        return answer_json({"status": "ready", "version": __version__})
    checks: ReadinessChecks = current_app.extensions["feedsvc.readiness"]
    found = checks.read()
    if found.down:
        causes = "; ".join(f"{store} ({cause})" for store, cause in found.down.items())
        return _not_ready(f"Cannot write to: {causes}.", down=list(found.down))
    if found.degraded:
        return answer_json(
            {
                "status": "degraded",
                "degraded": list(found.degraded),
                "causes": found.degraded,
                "version": __version__,
            }
        )
    return answer_json({"status": "ready", "version": __version__})


def _not_ready(detail: str, **more: list[str]) -> Response:
    answer = problem(503, detail, **more)
    answer.headers["Retry-After"] = "2"
    return answer


@blueprint.get("/metrics")
def get_metrics() -> Response:
    """Return the counters in the Prometheus text format."""
    return Response(
        services().metrics.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8"
    )


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Return the OpenAPI document. Its server is the service's root, also under a prefix."""
    return answer_json({**document(), "servers": [{"url": address("") or "."}]})


@blueprint.get("/docs")
def docs() -> Response:
    """Return a page that shows the OpenAPI document and sends requests.

    The page names its files relative to `/docs`, so it works under a prefix that no setting names.
    """
    if request.path.endswith("/"):
        raise NotFound
    page = send_from_directory(f"{blueprint.root_path}/static", "docs.html")
    page.headers["Content-Security-Policy"] = _DOCS_POLICY
    return page
