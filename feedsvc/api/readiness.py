"""Check in the background whether the stores accept writes, and whether the service is degraded.

Each check runs in a thread of its own and stores its latest result. So a store that hangs blocks
only the thread of its check, and a request waits briefly for the result. However many load
balancers ask, a store is checked at most once a second.
"""

from __future__ import annotations

import math
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from feedsvc.errors import StoreUnavailable
from feedsvc.fanout import broker, sweep
from feedsvc.store import clocks
from feedsvc.store.redis.client import show_sign_of_life

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.services import Services
    from feedsvc.store import Stores

_FRESH_SECONDS = 1.0
# For checks that run less often: the broker logs each connection, and clocks drift slowly.
_SELDOM_SECONDS = 5.0
# How long a request waits for the first result of a check, and for a newer result.
_FIRST_WAIT_SECONDS = 1.0
_WAIT_SECONDS = 0.3
# A check that has run this long has the result that its store does not answer.
_SILENT_SECONDS = 2.0

_SILENT = "it does not answer"
_UNREACHABLE = "it cannot be reached"
# Patterns for the messages of errors that have no code.
_PHRASES = {
    re.compile(r"auth|password|NOPERM", re.IGNORECASE): "it refuses the login",
    re.compile(r"certificate|tls|ssl", re.IGNORECASE): "its TLS certificate is not accepted",
    re.compile(r"time|no answer|waiting", re.IGNORECASE): _SILENT,
}

# Words for clients, by the first characters of an error code of PostgreSQL or SQLite. The driver's
# own words name hosts, so they go only to the log.
_DATABASE_FAULTS = {
    "25006": "it is read-only",
    "28": "it refuses the login",
    "3D000": "the server has no such database",
    "42501": "the user lacks a right",
    "53100": "its disk is full",
    "53": "it is out of memory or connections",
    "57014": _SILENT,
    "57": "it is starting or stopping",
    "SQLITE_READONLY": "it is read-only",
    "SQLITE_FULL": "its disk is full",
    "SQLITE_BUSY": "another process keeps it locked",
    "SQLITE_CANTOPEN": "its file cannot be opened",
}

_log = structlog.get_logger()


@dataclass(frozen=True)
class Readiness:
    """The causes by store or part, in words without hosts. Only a cause in `down` stops writes."""

    down: dict[str, str]
    degraded: dict[str, str]


class ReadinessChecks:
    """The checks of one process, with their latest results."""

    def __init__(self, services: Services) -> None:
        """Start no thread yet: each forked process runs its own checks."""
        stores, celery, began = services.stores, services.celery, time.monotonic()
        self._down = {
            "database": _Check(lambda: _fault_of(stores.sql.check_writable), _FRESH_SECONDS),
            "Redis": _Check(
                lambda: _fault_of(lambda: show_sign_of_life(stores.redis)), _FRESH_SECONDS
            ),
        }
        self._degraded = {
            "broker": _Check(lambda: _fault_of(lambda: broker.check(celery)), _SELDOM_SECONDS),
            "clocks": _Check(lambda: _differing_clock(stores), _SELDOM_SECONDS),
            "sweep": _Check(lambda: _late_sweep(stores, began), _FRESH_SECONDS),
        }

    def read(self) -> Readiness:
        """Return the latest causes. They are at most a few seconds old."""
        for check in (*self._down.values(), *self._degraded.values()):
            check.run_if_stale()
        down = _faults(self._down)
        return Readiness(down, {} if down else _faults(self._degraded))


@dataclass
class _Check:
    """A check that a thread runs. `find_fault` returns the cause in words, or None without a fault.

    A forked process has no threads of its parent, so it runs the check again.
    """

    find_fault: Callable[[], str | None]
    fresh_seconds: float
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _began: float = -math.inf
    _has_result: bool = False
    _fault: str | None = None

    def run_if_stale(self) -> None:
        """Start the check, unless it is running or its last result is fresh."""
        with self._lock:
            is_running = self._thread is not None and self._thread.is_alive()
            if is_running or time.monotonic() - self._began < self.fresh_seconds:
                return
            self._began = time.monotonic()
            thread = threading.Thread(target=self._run, daemon=True)
            thread.start()
            self._thread = thread  # not before: `fault` joins it without the lock

    def fault(self) -> str | None:
        """Return the latest result. Waits briefly for a check that is running."""
        thread = self._thread
        assert thread is not None, "the check was started"
        remaining = self._began + (_WAIT_SECONDS if self._has_result else _FIRST_WAIT_SECONDS)
        thread.join(max(0.0, remaining - time.monotonic()))
        is_silent = time.monotonic() - self._began > _SILENT_SECONDS
        if thread.is_alive() and (is_silent or not self._has_result):
            return _SILENT
        return self._fault

    def _run(self) -> None:
        self._fault = self.find_fault()
        self._has_result = True


def _faults(checks: dict[str, _Check]) -> dict[str, str]:
    found = {name: check.fault() for name, check in checks.items()}
    return {name: fault for name, fault in found.items() if fault is not None}


def _fault_of(attempt: Callable[[], object]) -> str | None:
    """Try to use a store. Return the cause in words if the store cannot be used, else None."""
    try:
        attempt()
    except StoreUnavailable as error:
        _log.warning("store.unavailable", store=error.store, cause=error.cause)
        return _in_words(error)
    return None


def _in_words(error: StoreUnavailable) -> str:
    """Return the cause in our own words. The driver's words may name hosts and users."""
    original = getattr(error.__cause__, "orig", None)
    code = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None) or ""
    for beginning, words in _DATABASE_FAULTS.items():
        if code.startswith(beginning):
            return words
    if error.cause.startswith(("it ", "its ")):
        return error.cause.partition(": ")[0]
    fitting = (words for phrase, words in _PHRASES.items() if phrase.search(error.cause))
    return next(fitting, _UNREACHABLE)


def _late_sweep(stores: Stores, began: float) -> str | None:
    """Return a fault if no sweep has ended for 30 s and this process has run for longer."""
    try:
        age = sweep.seconds_since(stores.redis)
    except StoreUnavailable:  # the check of Redis reports it
        return None
    if min(math.inf if age is None else age, time.monotonic() - began) <= sweep.LATE_SECONDS:
        return None
    since = "an hour" if age is None else f"{age:.0f} s"
    return f"no sweep has ended for {since}: is a worker running, and beat?"


def _differing_clock(stores: Stores) -> str | None:
    """Return a fault if the clock of a store and this host's clock differ by more than a second."""
    try:
        differences = clocks.differences(stores)
    except StoreUnavailable:  # the checks of the stores report it
        return None
    found = [
        f"the clock of {name} is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} "
        "this host's"
        for name, seconds in differences.items()
        if abs(seconds) > clocks.TOLERATED_SECONDS
    ]
    return "; ".join(found) or None
