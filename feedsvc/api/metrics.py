"""The counters of the application that answers a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from flask import Flask, Response

    from feedsvc.metrics import Metrics


def of_this_app() -> Metrics:
    """The counters of the application that answers this request."""
    found: Metrics = current_app.extensions["feedsvc.metrics"]
    return found


def count(app: Flask, method: str, route: str, response: Response) -> None:
    """Count one answer."""
    metrics: Metrics = app.extensions["feedsvc.metrics"]
    metrics.http_requests.labels(method, route, str(response.status_code)).inc()
