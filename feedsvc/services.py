"""The services of one process: the stores, the queue and the counters, opened from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from feedsvc.embedded import datadir
from feedsvc.embedded.valkey import EmbeddedValkey, attach_or_start
from feedsvc.errors import BadSettings, FeedsvcError
from feedsvc.fanout.queues import enqueuer
from feedsvc.metrics import Metrics
from feedsvc.store import Stores, open_stores
from feedsvc.store.redis.client import check_url
from feedsvc.store.sql import migrate
from feedsvc.tasks import make_celery

if TYPE_CHECKING:
    from pathlib import Path

    from celery import Celery

    from feedsvc.fanout.queues import Enqueue
    from feedsvc.settings import Settings


class SchemaOutdated(FeedsvcError):
    """A database that the settings name is not at the newest revision."""

    def __init__(self, found: str | None, head: str) -> None:
        super().__init__(
            f"the database is at revision {found or 'none'}, and {head} is needed: "
            "run feedsvc db upgrade"
        )


@dataclass(frozen=True)
class Addresses:
    """The URLs of the database, of Redis and of the broker."""

    database: str
    redis: str
    broker: str


@dataclass(frozen=True)
class Services:
    """The opened services of one process. `valkey` is None where a setting names the server."""

    settings: Settings
    stores: Stores
    celery: Celery
    enqueue: Enqueue
    metrics: Metrics
    jwt_secret: str
    valkey: EmbeddedValkey | None

    def close(self) -> None:
        """Close every connection, and stop the embedded server if this process started it."""
        self.celery.close()
        self.stores.close()
        if self.valkey is not None:
            self.valkey.close()


def open_services(settings: Settings, *, check_schema: bool = True) -> Services:
    """Open the services.

    An embedded database is migrated here. A database that the settings name must be at the newest
    revision, unless `check_schema` is false. Raises `FeedsvcError` with a message for the operator.
    """
    folder = datadir.prepare(settings.data_dir)
    valkey = attach_or_start(folder) if settings.redis_url is None else None
    at = addresses(settings, folder, valkey)
    stores = open_stores(settings, database_url=at.database, redis_url=at.redis)
    if settings.database_url is None:
        migrate.upgrade(stores.sql)
    elif check_schema:
        found, head = migrate.revisions(stores.sql)
        if found != head:
            raise SchemaOutdated(found, head)
    metrics = Metrics()
    celery = make_celery(stores, at.broker, metrics)
    secret = settings.jwt_secret or datadir.secret(folder)
    return Services(settings, stores, celery, enqueuer(celery, stores), metrics, secret, valkey)


def addresses(settings: Settings, folder: Path, valkey: EmbeddedValkey | None) -> Addresses:
    """Return the URLs that the settings name, else those in the data folder.

    Raises `BadSettings`.
    """
    database = database_url(settings, folder)
    if valkey is not None:
        return Addresses(database, valkey.url(), settings.broker_url or valkey.broker_url())
    assert settings.redis_url is not None, "without an embedded server a setting names one"
    try:
        check_url(settings.redis_url)
        broker = settings.broker_url or _next_database(settings.redis_url)
    except ValueError:
        accepted = (
            "redis://host:6379/0, rediss://host, unix:///path "
            "or redis+cluster://host:port,host:port"
        )
        raise BadSettings({"redis_url": [f"is not a Redis URL, like {accepted}"]}) from None
    return Addresses(database, settings.redis_url, broker)


def database_url(settings: Settings, folder: Path) -> str:
    """Return the database URL that the settings name, else the one of the data folder.

    A PostgreSQL URL without a driver gets psycopg. Raises `BadSettings`.
    """
    if settings.database_url is None:
        return URL.create("sqlite", database=str(folder / "feedsvc.db")).render_as_string()
    try:
        url = make_url(settings.database_url)
    except (ArgumentError, ValueError):
        raise _bad_database(
            "is not a database URL, like postgresql+psycopg://user@host/name"
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise _bad_database("must be of SQLite or PostgreSQL")
    try:
        url.get_dialect().import_dbapi()
    except (ImportError, NoSuchModuleError):
        raise _bad_database(
            f"needs a driver that is not installed: {url.drivername}; use postgresql+psycopg"
        ) from None
    return url.render_as_string(hide_password=False)


def _bad_database(message: str) -> BadSettings:
    return BadSettings({"database_url": [message]})


def _next_database(redis_url: str) -> str:
    """Return the default URL of the broker: the next database of the same server."""
    url = make_url(redis_url)
    if url.drivername == "unix":
        number = int(str(url.query.get("db", 0))) + 1
        socket = redis_url.removeprefix("unix://").partition("?")[0]
        return f"redis+socket://{socket}?virtual_host={number}"
    number = int(url.database or url.query.get("db", 0) or 0) + 1  # type: ignore[arg-type]
    return url.set(database=str(number), query={}).render_as_string(hide_password=False)
