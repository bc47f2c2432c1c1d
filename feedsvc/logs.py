"""Logging: one JSON object a line, on stderr. Events have fixed names and fields.

Loggers write to the process's own stderr, also while a test runner has put another stream in the
place of `sys.stderr`. Inside another program, they write where that program has sent its logs.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

import structlog

# The name under which another program configures the logs of this service.
_NAME = "feedsvc"


class _Stderr:
    """The process's own stderr. A line that it cannot take is lost, on a full disk for instance.

    A log must not fail the request that it tells of: the request may have been committed. The lines
    pass no buffer, which would keep a part of a lost line for later. They take no lock, which a
    forked process could inherit locked.
    """

    def msg(self, line: str) -> None:
        """Write a line, or lose it."""
        if sys.__stderr__ is not None:  # a process without any has no place for logs
            with suppress(OSError, ValueError):
                text = f"{line}\n".encode(errors="backslashreplace")
                os.write(sys.__stderr__.fileno(), text)

    debug = info = warning = error = critical = exception = msg


class _Host:
    """The log of the program around the service: Python's `logging`, if it has a handler."""

    def debug(self, line: str) -> None:
        """Write a line of this level."""
        _write(logging.DEBUG, line)

    def info(self, line: str) -> None:
        """Write a line of this level."""
        _write(logging.INFO, line)

    def warning(self, line: str) -> None:
        """Write a line of this level."""
        _write(logging.WARNING, line)

    def error(self, line: str) -> None:
        """Write a line of this level."""
        _write(logging.ERROR, line)

    exception = critical = error


def configure(level: int = logging.INFO) -> None:
    """Set up logging for a process of the service. Later calls change nothing."""
    _configure(level, _Stderr())


def configure_inside_host() -> None:
    """Set up logging inside another program, unless that program has set up structlog itself."""
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


def _write(level: int, line: str) -> None:
    logger = logging.getLogger(_NAME)
    if logger.hasHandlers():
        logger.log(level, "%s", line)
    else:
        _Stderr().msg(line)
