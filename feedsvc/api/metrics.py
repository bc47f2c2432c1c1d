"""Counters for Prometheus. `docs/metrics.md` documents each; a test compares the two.

Where `PROMETHEUS_MULTIPROC_DIR` is set, as `up` does, the counts of all web processes are added up.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flask import current_app
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from flask import Flask, Response


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        """All at zero, in a registry of their own."""
        self.registry = CollectorRegistry()
        self.http_requests = Counter(
            "feedsvc_http_requests",
            "Requests answered, by method, route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.posts_published = Counter("feedsvc_posts_published", "Posts uploaded; replays are not counted.", registry=self.registry)
        self.feed_pages = Counter("feedsvc_feed_pages", "Pages of home feeds answered.", registry=self.registry)

    def exposition(self) -> bytes:
        """All counts in the Prometheus text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)


def of_this_app() -> Metrics:
    """The counters of the application that answers this request."""
    found: Metrics = current_app.extensions["feedsvc.metrics"]
    return found


def count(app: Flask, method: str, route: str, response: Response) -> None:
    """Count one answer."""
    metrics: Metrics = app.extensions["feedsvc.metrics"]
    metrics.http_requests.labels(method, route, str(response.status_code)).inc()
