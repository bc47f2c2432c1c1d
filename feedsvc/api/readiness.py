"""Whether the stores take writes, and whether anything else is wrong: asked outside the requests.

A thread asks each store, one at a time, and its answer is kept for a moment. So a store that hangs
holds one thread of its own, a request waits for it once and briefly, and probes of many balancers
cost one question a second.
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
# The broker logs each connection, and clocks drift slowly.
_SELDOM_SECONDS = 5.0
# A request waits this long for an answer. While there is an older answer it waits less.
_FIRST_WAIT_SECONDS = 1.0
_WAIT_SECONDS = 0.3
# A store that has not answered after this time does not answer.
_SILENT_SECONDS = 2.0

_SILENT = "it does not answer"
_UNREACHABLE = "it cannot be reached"
# What the drivers say without a code.
_PHRASES = {
    re.compile(r"auth|password|NOPERM", re.IGNORECASE): "it refuses the login",
    re.compile(r"certificate|tls|ssl", re.IGNORECASE): "its TLS certificate is not accepted",
    re.compile(r"time|no answer|waiting", re.IGNORECASE): _SILENT,
}

# How the codes of PostgreSQL and SQLite begin, in words for a client. The log has the driver's
# words, which name hosts.
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
    """What is wrong, by name, in words without hosts: `down` stops writes, `degraded` does not."""

    down: dict[str, str]
    degraded: dict[str, str]


class Readings:
    """The latest answers of every store of one process."""

    def __init__(self, services: Services) -> None:
        """Ask nothing yet."""
        stores, celery, began = services.stores, services.celery, time.monotonic()
        self._down = {
            "database": _Question(lambda: _refusal(stores.sql.check_writable), _FRESH_SECONDS),
            "Redis": _Question(
                lambda: _refusal(lambda: show_sign_of_life(stores.redis)), _FRESH_SECONDS
            ),
        }
        self._degraded = {
            "broker": _Question(lambda: _refusal(lambda: broker.check(celery)), _SELDOM_SECONDS),
            "clocks": _Question(lambda: _differing_clock(stores), _SELDOM_SECONDS),
            "sweep": _Question(lambda: _late_sweep(stores, began), _FRESH_SECONDS),
        }

    def read(self) -> Readiness:
        """Return what is wrong now, or was a moment ago."""
        for question in (*self._down.values(), *self._degraded.values()):
            question.ask_if_old()
        down = _faults(self._down)
        return Readiness(down, {} if down else _faults(self._degraded))


@dataclass
class _Question:
    """A question whose answer is what is wrong, in words; None if nothing is.

    A thread asks. A forked process has no thread of its parent, so it asks anew.
    """

    ask: Callable[[], str | None]
    fresh_seconds: float
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _began: float = -math.inf
    _is_answered: bool = False
    _fault: str | None = None

    def ask_if_old(self) -> None:
        """Ask, unless a thread is asking or the last answer is fresh."""
        with self._lock:
            is_asking = self._thread is not None and self._thread.is_alive()
            if is_asking or time.monotonic() - self._began < self.fresh_seconds:
                return
            self._began = time.monotonic()
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def fault(self) -> str | None:
        """Return the latest answer. Waits briefly for a thread that is asking."""
        thread = self._thread
        assert thread is not None, "it was asked"
        remaining = self._began + (_WAIT_SECONDS if self._is_answered else _FIRST_WAIT_SECONDS)
        thread.join(max(0.0, remaining - time.monotonic()))
        is_silent = time.monotonic() - self._began > _SILENT_SECONDS
        if thread.is_alive() and (is_silent or not self._is_answered):
            return _SILENT
        return self._fault

    def _run(self) -> None:
        self._fault = self.ask()
        self._is_answered = True


def _faults(questions: dict[str, _Question]) -> dict[str, str]:
    found = {name: question.fault() for name, question in questions.items()}
    return {name: fault for name, fault in found.items() if fault is not None}


def _refusal(attempt: Callable[[], object]) -> str | None:
    """Return why a store refuses the attempt; None if it does not."""
    try:
        attempt()
    except StoreUnavailable as error:
        _log.warning("store.unavailable", store=error.store, cause=error.cause)
        return _in_words(error)
    return None


def _in_words(error: StoreUnavailable) -> str:
    """Return the cause without the driver's words, which may name hosts and users."""
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
    """Return a fault if no sweep has ended for 30 s, and this process is as old."""
    try:
        age = sweep.seconds_since(stores.redis)
    except StoreUnavailable:  # another question says so
        return None
    if min(math.inf if age is None else age, time.monotonic() - began) <= sweep.LATE_SECONDS:
        return None
    since = "an hour" if age is None else f"{age:.0f} s"
    return f"no sweep has ended for {since}: is a worker running, and beat?"


def _differing_clock(stores: Stores) -> str | None:
    try:
        differences = clocks.differences(stores)
    except StoreUnavailable:  # the other questions say so
        return None
    found = [
        f"the clock of {name} is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} "
        "this host's"
        for name, seconds in differences.items()
        if abs(seconds) > clocks.TOLERATED_SECONDS
    ]
    return "; ".join(found) or None
