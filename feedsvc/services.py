"""The services of one process: the stores, the queue and the counters, opened from the settings."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import URL

from feedsvc import redis_address
from feedsvc.embedded import datadir
from feedsvc.embedded.valkey import EmbeddedValkey, attach_or_start
from feedsvc.errors import FeedsvcError
from feedsvc.fanout.broker import forget_connections
from feedsvc.fanout.queues import enqueuer
from feedsvc.forks import call_in_child
from feedsvc.metrics import Metrics
from feedsvc.store import Stores, open_stores
from feedsvc.store.redis import commands
from feedsvc.store.sql import migrate
from feedsvc.store_urls import complete_database
from feedsvc.tasks import make_celery

if TYPE_CHECKING:
    from pathlib import Path

    from celery import Celery

    from feedsvc.fanout.queues import Enqueue
    from feedsvc.settings import Settings


class CannotSign(FeedsvcError):
    """The service cannot sign tokens, because it accepts only tokens of the JWKS."""

    def __init__(self) -> None:
        super().__init__(
            "FEEDSVC_JWT_JWKS is set, so this service cannot sign tokens; "
            "get one from the service that owns its keys"
        )


@dataclass(frozen=True)
class Addresses:
    """The URLs of the database, of Redis and of the broker."""

    database: str
    redis: str
    broker: str


@dataclass(frozen=True)
class Services:
    """The opened services of one process.

    `valkey` is None if `FEEDSVC_REDIS_URL` is set. `jwt_secret` is None if `FEEDSVC_DATABASE_URL`
    is set and `FEEDSVC_JWT_SECRET` is not.
    """

    settings: Settings
    stores: Stores
    celery: Celery
    enqueue: Enqueue
    metrics: Metrics
    jwt_secret: str | None
    valkey: EmbeddedValkey | None

    def __post_init__(self) -> None:
        """Let a forked process open new connections to the broker. The stores do so themselves."""
        call_in_child(self._forget_parent)

    def _forget_parent(self) -> None:
        forget_connections(self.celery)

    def close(self) -> None:
        """Close every connection, and stop the embedded server if this process started it."""
        self.celery.close()
        self.stores.close()
        if self.valkey is not None:
            self.valkey.close()


def open_services(settings: Settings, *, check_schema: bool = True) -> Services:
    """Open the services.

    An embedded database is migrated here. A database that the settings name must be at the newest
    revision, or at one of a newer release, unless `check_schema` is false. Raises `FeedsvcError`
    with a message for the operator.
    """
    valkey, at = locate_stores(settings)
    stores = open_stores_at(settings, at, check_schema=check_schema)
    metrics = Metrics()
    celery = make_celery(at.broker, lambda: stores, metrics)
    secret = signing_secret(settings)
    return Services(settings, stores, celery, enqueuer(celery, stores), metrics, secret, valkey)


def locate_stores(settings: Settings) -> tuple[EmbeddedValkey | None, Addresses]:
    """Return the addresses of the stores and the broker.

    Starts the embedded Valkey if no setting names a Redis and no other process runs the Valkey.
    """
    folder = settings.data_dir
    if settings.database_url is None or settings.redis_url is None:
        folder = datadir.prepare(folder)
    valkey = attach_or_start(folder) if settings.redis_url is None else None
    return valkey, addresses(settings, folder, valkey)


def open_stores_at(settings: Settings, at: Addresses, *, check_schema: bool = True) -> Stores:
    """Open the stores at the addresses. Migrate or check the schema like `open_services`."""
    if settings.redis_url is not None:
        commands.require(at.redis)
    with ExitStack() as opened:
        stores = open_stores(settings, database_url=at.database, redis_url=at.redis)
        opened.callback(stores.close)
        if settings.database_url is None:
            migrate.upgrade(stores.sql)
        elif check_schema:
            migrate.check(stores.sql)
        opened.pop_all()  # nothing failed, so keep the stores open
        return stores


def signing_secret(settings: Settings) -> str | None:
    """Return the secret of the settings, else the one in the folder of the embedded database.

    Return None if a setting names the database, and none names a secret.
    """
    if settings.jwt_secret is None and settings.database_url is None:
        return datadir.secret(datadir.prepare(settings.data_dir))
    return settings.jwt_secret


def own_secret(settings: Settings) -> str:
    """Return the secret that signs tokens. Raises `CannotSign` if the service uses a JWKS."""
    secret = None if settings.jwt_jwks is not None else signing_secret(settings)
    if secret is None:
        raise CannotSign
    return secret


def addresses(settings: Settings, folder: Path, valkey: EmbeddedValkey | None) -> Addresses:
    """Return the URLs in the settings. Parts without a URL are in the data folder."""
    database = database_url(settings, folder)
    if valkey is not None:
        return Addresses(database, valkey.url(), settings.broker_url or valkey.broker_url())
    assert settings.redis_url is not None, "without an embedded server a setting names one"
    broker = settings.broker_url or redis_address.parse(settings.redis_url).broker_url()
    return Addresses(database, settings.redis_url, broker)


def database_url(settings: Settings, folder: Path) -> str:
    """Return the database URL that the settings name, else the one of the data folder."""
    if settings.database_url is None:
        return URL.create("sqlite", database=str(folder / datadir.DATABASE_FILE)).render_as_string()
    return complete_database(settings.database_url)
