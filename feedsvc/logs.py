"""Logging: one JSON object a line, on stderr. Events have fixed names and fields.

Loggers write to the process's original stderr, even if a test runner has replaced `sys.stderr`.
Inside a host application they write to Python's `logging`, which the host has configured.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from functools import partialmethod

import structlog

# The logger through which a host application configures the logs of this service.
_NAME = "feedsvc"


class _Stderr:
    """The process's original stderr. A line that cannot be written is dropped.

    A full disk must not fail a request, because the request may have been committed. Lines are
    written without a buffer, which could keep half of a dropped line. They are written without a
    lock, which a fork could copy while it is held.
    """

    def msg(self, line: str) -> None:
        """Write a line, or drop it."""
        if sys.__stderr__ is not None:  # a process may run without a stderr
            with suppress(OSError, ValueError):
                text = f"{line}\n".encode(errors="backslashreplace")
                os.write(sys.__stderr__.fileno(), text)

    debug = info = warning = error = critical = exception = msg


class _Host:
    """Python's `logging` as the host application has configured it, or stderr without a handler."""

    def _write(self, level: int, line: str) -> None:
        logger = logging.getLogger(_NAME)
        if logger.hasHandlers():
            logger.log(level, "%s", line)
        else:
            _Stderr().msg(line)

    debug = partialmethod(_write, logging.DEBUG)
    info = partialmethod(_write, logging.INFO)
    warning = partialmethod(_write, logging.WARNING)
    error = critical = exception = partialmethod(_write, logging.ERROR)


def configure(level: int = logging.INFO) -> None:
    """Set up logging for a process of the service. Later calls change nothing."""
    _configure(level, _Stderr())


def configure_inside_host() -> None:
    """Set up logging inside a host application, unless the host has configured structlog."""
    _configure(logging.INFO, _Host())


def _configure(level: int, log: _Stderr | _Host) -> None:
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: log,
        cache_logger_on_first_use=True,
    )
