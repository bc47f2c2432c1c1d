"""Check whether the broker accepts this service, and name the cause if it does not."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from amqp import exceptions as amqp
from kombu import exceptions as kombu
from kombu import pools
from redis import exceptions as redis

from feedsvc.errors import FeedsvcError, StoreUnavailable
from feedsvc.forks import abandon

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

# Errors of the broker's client libraries if the broker is down or refuses the connection.
UNREACHABLE = (kombu.OperationalError, OSError, amqp.AMQPError, redis.RedisError)

_ANSWER_SECONDS = 2.0
# Errors by which a broker answers and refuses. A subclass stands before its base class.
_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (amqp.AccessRefused, "it refuses the login"),
    (amqp.NotAllowed, "it has no such virtual host, or the user may not use it"),
    (redis.AuthenticationError, "it refuses the login"),
    (redis.NoPermissionError, "it forbids a command"),
    (redis.InvalidResponse, "it is no Redis"),
    (redis.ReadOnlyError, "it takes no writes"),
    (redis.BusyLoadingError, "it is loading its data"),
    (redis.ResponseError, "it refuses the connection"),
    (ssl.SSLError, "its TLS certificate is not accepted"),
)
# The broker stops refusing by itself.
_PASSING = (redis.ReadOnlyError, redis.BusyLoadingError)
_ABSENCES: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "it does not answer"),
    (redis.TimeoutError, "it does not answer"),
)


class BrokerRefuses(FeedsvcError):
    """The broker answers, and refuses the connection of this service."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"the broker cannot be used: {cause} (check FEEDSVC_BROKER_URL)")


def check(celery: Celery) -> None:
    """Log in to the broker and open a channel. Raises `StoreUnavailable` with the cause."""
    error = _error_of_login(celery)
    if error is not None:
        raise StoreUnavailable("broker", f"{_words(error)}: {error}") from error


def check_login(celery: Celery) -> None:
    """Raise `BrokerRefuses` if the broker refuses the login. A broker that is down is no error."""
    error = _error_of_login(celery)
    refusals = tuple(kind for kind, _ in _REFUSALS)
    if error is None or isinstance(error, _PASSING) or not isinstance(error, refusals):
        return
    raise BrokerRefuses(f"{_words(error)}: {error}")


def count_waiting(connection: Connection, queue: str) -> int:
    """Return how many messages wait in a queue. A queue that does not exist yet has none.

    Raises the error of the broker's client if the broker is down.
    """
    try:
        with connection.channel() as channel:
            # Kombu's types lack `queue_declare`, but the channel of every transport has it.
            declare: Any = channel.queue_declare  # type: ignore[attr-defined]
            return int(declare(queue, passive=True).message_count)
    except connection.channel_errors:
        return 0


def forget_connections(celery: Celery) -> None:
    """After a fork, leave all inherited connections to the parent process, and open new ones."""
    for group in (pools.connections, pools.producers):
        abandon(list(group.values()))
        group.clear()
    celery._after_fork()  # type: ignore[attr-defined]  # noqa: SLF001 -- forgets its own two pools


def _error_of_login(celery: Celery) -> BaseException | None:
    """Log in, and return the error, or None. Each node of the broker gets 2 s for each answer."""
    connection = celery.connection_for_write(
        connect_timeout=_ANSWER_SECONDS,
        transport_options={
            "socket_timeout": _ANSWER_SECONDS,
            "socket_connect_timeout": _ANSWER_SECONDS,
        },
    )
    others = len(connection.alt) - 1
    try:
        with connection:
            connection.ensure_connection(
                max_retries=max(0, others), interval_start=0, interval_step=0
            )
            with connection.channel():
                return None
    except Exception as error:  # noqa: BLE001 -- each transport has its own errors
        # Kombu wraps the error of its transport in an error of its own.
        return error.__cause__ if isinstance(error, kombu.OperationalError) else error


def _words(error: BaseException) -> str:
    for kind, words in (*_REFUSALS, *_ABSENCES):
        if isinstance(error, kind):
            return words
    return "it cannot be reached"
