"""Metrics for Prometheus. `docs/metrics.md` documents each; a test compares the two.

If `PROMETHEUS_MULTIPROC_DIR` is set, `/metrics` shows the sums over all processes. `up` sets it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter as Counts
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from feedsvc.count_file import CountFile

if TYPE_CHECKING:
    from collections.abc import Mapping

_ATTEMPTS = 5

# Counts of the near cache are copied to the counters at most once a second.
_COPY_SECONDS = 1.0

# The client library makes the files of its counters through this name.
values.MmapedDict = CountFile  # type: ignore[attr-defined]


class Metrics:
    """The metrics of one process, in a registry of their own."""

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

        self._near_cache = {
            "hits": self._counter(
                "near_cache_hits", "Lists and posts that a read found in the near cache.", "kind"
            ),
            "misses": self._counter(
                "near_cache_misses", "Lists and posts that a read had to fetch.", "kind"
            ),
            "evictions": self._counter(
                "near_cache_evictions", "Copies that made room for other copies.", "kind"
            ),
        }
        self._near_cache_bytes = Gauge(
            "feedsvc_near_cache_bytes",
            "Bytes that the near caches of all web processes take.",
            ["kind"],
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._copied: Counts[tuple[str, str]] = Counts()
        self._copied_at = 0.0
        self._lock = threading.Lock()

    @property
    def is_near_cache_due(self) -> bool:
        """Whether the counts of the near cache were copied more than a second ago."""
        return time.monotonic() > self._copied_at + _COPY_SECONDS

    def copy_near_cache(
        self, counts: Mapping[tuple[str, str], int], used_bytes: Mapping[str, int]
    ) -> None:
        """Copy what the near cache has counted, and the bytes that it takes, by kind.

        `counts`: (hits, misses or evictions; kind) -> number since the process began. Another
        thread may have copied later counts.
        """
        with self._lock:
            self._copied_at = time.monotonic()
            for (name, kind), count in counts.items():
                new = max(0, count - self._copied[name, kind])
                self._near_cache[name].labels(kind).inc(new)
                self._copied[name, kind] += new
            for kind, size in used_bytes.items():
                self._near_cache_bytes.labels(kind).set(size)

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
