"""Logging: one JSON object a line, on stderr. Events have fixed names and fields.

Loggers write to the process's own stderr, also while a test runner has put another stream in the
place of `sys.stderr`.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

import structlog


class _Stderr:
    """The process's own stderr. A line that it cannot take is lost, on a full disk for instance.

    A log must not fail the request that it tells of: the request may have been committed. The lines
    pass no buffer, which would keep a part of a lost line for later.
    """

    def write(self, line: str) -> None:
        """Write a line, or lose it."""
        if sys.__stderr__ is not None:  # a process without any has no place for logs
            with suppress(OSError, ValueError):
                os.write(sys.__stderr__.fileno(), line.encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Do nothing: nothing is kept."""


def configure(level: int = logging.INFO) -> None:
    """Set up logging for this process. Later calls change nothing."""
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
        logger_factory=structlog.WriteLoggerFactory(_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
