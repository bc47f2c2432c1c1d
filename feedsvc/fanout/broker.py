"""Check whether the broker accepts this service, and name the cause if it does not."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from amqp import exceptions as amqp
from kombu import exceptions as kombu
from kombu import pools
from redis import exceptions as redis

from feedsvc.errors import FeedsvcError, StoreUnavailable
from feedsvc.fanout import broker_rights
from feedsvc.forks import abandon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery
    from kombu import Connection

_ANSWER_SECONDS = 2.0
# What an operator does about a broker that refuses.
ADVICE = "run feedsvc check: it names what the broker refuses"
# Errors by which a broker answers and refuses. A subclass stands before its base class.
_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
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
    """The broker answers, and refuses the login, or a right that the service needs."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        words = cause.rstrip(".")
        super().__init__(f"the broker cannot be used: {words} (check FEEDSVC_BROKER_URL)")


def check(celery: Celery) -> None:
    """Log in to the broker and open a channel. Raises `StoreUnavailable` with the cause."""
    with errors_named():
        _log_in(celery).release()


def check_rights(celery: Celery) -> None:
    """Log in, and raise `BrokerRefuses` if the user lacks a right. Changes nothing.

    Raises `StoreUnavailable` if the broker cannot be used at all.
    """
    with errors_named(), _log_in(celery) as connection:
        lacking = broker_rights.lacking(celery, connection)
    if lacking:
        raise BrokerRefuses(f"the user lacks {lacking}")


def require(celery: Celery) -> None:
    """Raise `BrokerRefuses` if the broker refuses the login, or a right that the service needs.

    A broker that is down passes.
    """
    try:
        check_rights(celery)
    except StoreUnavailable as error:
        if is_refusal(error.__cause__):
            raise BrokerRefuses(error.cause) from None


@contextmanager
def errors_named() -> Iterator[None]:
    """Raise every error of a broker's client as `StoreUnavailable`, with the cause in words."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 -- each transport has its own errors
        # Kombu wraps the error of its transport in an error of its own.
        is_wrapped = isinstance(error, kombu.OperationalError) and error.__cause__ is not None
        cause = error.__cause__ if is_wrapped else error
        raise StoreUnavailable("broker", cause_of(cause)) from cause


def cause_of(error: BaseException | None) -> str:
    """Return an error of a broker's client in our words, and then in its own."""
    return f"{_words(error)}: {error}"


def is_refusal(error: BaseException | None) -> bool:
    """Return whether the broker answered and refused, and does not stop refusing by itself."""
    refusals: tuple[type[Exception], ...] = (amqp.AccessRefused, *(kind for kind, _ in _REFUSALS))
    return isinstance(error, refusals) and not isinstance(error, _PASSING)


def count_waiting(connection: Connection, queue: str) -> int:
    """Return how many messages wait in a queue. A queue that does not exist yet has none."""
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


def _log_in(celery: Celery) -> Connection:
    """Return a connection that has logged in. Each node of the broker gets 2 s for each answer."""
    connection = celery.connection_for_write(
        connect_timeout=_ANSWER_SECONDS,
        transport_options={
            "socket_timeout": _ANSWER_SECONDS,
            "socket_connect_timeout": _ANSWER_SECONDS,
        },
    )
    others = len(connection.alt) - 1
    try:
        connection.ensure_connection(max_retries=max(0, others), interval_start=0, interval_step=0)
        with connection.channel():
            pass
    except BaseException:
        connection.release()
        raise
    return connection


def _words(error: BaseException | None) -> str:
    if isinstance(error, amqp.AccessRefused):
        # A login is refused before any method is called.
        return "it refuses the login" if not error.method_name else "the user lacks a right"
    for kind, words in (*_REFUSALS, *_ABSENCES):
        if isinstance(error, kind):
            return words
    return "it cannot be reached"
