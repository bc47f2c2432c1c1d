"""Counters for Prometheus. `docs/metrics.md` documents each; a test compares the two.

If `PROMETHEUS_MULTIPROC_DIR` is set, `/metrics` shows the sums over all processes. `up` sets it.
"""

from __future__ import annotations

import os
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from feedsvc.count_file import CountFile

_ATTEMPTS = 5

# The client library makes the files of its counters through this name.
values.MmapedDict = CountFile  # type: ignore[attr-defined]


class Metrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.http_requests = self._counter(
            "http_requests",
            "Requests answered, by method, route and status.",
            "method",
            "route",
            "status",
        )
        self.posts_published = self._counter(
            "posts_published", "Posts uploaded; replays are not counted."
        )
        self.feed_pages = self._counter("feed_pages", "Pages of home feeds answered.")
        self.sweeps = self._counter("sweeps", "Sweeps that a worker has ended.")
        self.audit_feeds = self._counter(
            "audit_feeds", "Stored feeds that the audit has compared with the database."
        )
        self.audit_missing = self._counter(
            "audit_missing", "Posts that the audit found missing from a feed."
        )
        self.audit_extra = self._counter(
            "audit_extra", "Posts that the audit found in a feed in which they do not belong."
        )
        self.audit_twice = self._counter(
            "audit_twice", "Ids that the audit found more than once in a stored feed."
        )

    def exposition(self) -> bytes:
        """Return all counts in the Prometheus text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        for _ in range(_ATTEMPTS):
            # Another process may rename a file between the listing and the read.
            with suppress(FileNotFoundError):
                return self._of_all_processes()
        return self._of_all_processes()

    def _of_all_processes(self) -> bytes:
        all_processes = CollectorRegistry()
        MultiProcessCollector(all_processes)  # type: ignore[no-untyped-call]
        return generate_latest(all_processes)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"feedsvc_{name}", description, labels, registry=self.registry)
