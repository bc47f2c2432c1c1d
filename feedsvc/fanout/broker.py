"""Ask the broker whether it takes messages of this service."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from amqp import exceptions as amqp
from redis import exceptions as redis

from feedsvc.errors import StoreUnavailable

if TYPE_CHECKING:
    from celery import Celery

# The more special error stands first.
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (amqp.AccessRefused, "it refuses the login"),
    (amqp.NotAllowed, "it has no such virtual host, or the user may not use it"),
    (redis.AuthenticationError, "it refuses the login"),
    (redis.NoPermissionError, "it forbids a command"),
    (ssl.SSLError, "its TLS certificate is not accepted"),
    (TimeoutError, "it does not answer"),
    (redis.TimeoutError, "it does not answer"),
)


def check(celery: Celery) -> None:
    """Log in to the broker and open a channel. Raises `StoreUnavailable` with the cause."""
    try:
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            with connection.channel():
                pass
    except Exception as error:  # each transport has its own errors
        raise StoreUnavailable("broker", f"{_words(error)}: {error}") from error


def _words(error: BaseException) -> str:
    """Return why, in words. Celery's client may hide the error behind one of its own."""
    while True:
        for kind, words in _WORDS:
            if isinstance(error, kind):
                return words
        if error.__cause__ is None:
            return "it cannot be reached"
        error = error.__cause__
