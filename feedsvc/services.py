"""Everything that a process of the service works with, opened in one place from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from feedsvc.embedded import datadir
from feedsvc.embedded.valkey import EmbeddedValkey, attach_or_start
from feedsvc.errors import BadSettings, FeedsvcError
from feedsvc.store import Stores, open_stores
from feedsvc.store.sql import migrate
from feedsvc.worker import enqueuer, make_celery

if TYPE_CHECKING:
    from pathlib import Path

    from celery import Celery

    from feedsvc.fanout.chain import Enqueue
    from feedsvc.settings import Settings


class SchemaMissing(FeedsvcError):
    """The database that was named is not at the newest revision."""

    def __init__(self, found: str | None, head: str) -> None:
        super().__init__(f"the database is at revision {found or 'none'}, {head} is needed: run python -m feedsvc db upgrade")


@dataclass(frozen=True)
class Addresses:
    """Where the parts are."""

    database: str
    redis: str
    broker: str


@dataclass(frozen=True)
class Services:
    """One process's service."""

    settings: Settings
    stores: Stores
    celery: Celery
    enqueue: Enqueue
    jwt_secret: str
    valkey: EmbeddedValkey | None

    def close(self) -> None:
        """Give everything back; an embedded server that this process has started ends."""
        self.celery.close()
        self.stores.close()
        if self.valkey is not None:
            self.valkey.close()


def open_services(settings: Settings, *, check_schema: bool = True) -> Services:
    """Open the service. An embedded database is migrated by itself; one that was named has to be at the newest revision.

    Raises `FeedsvcError` in words for the operator.
    """
    folder = datadir.prepare(settings.data_dir)
    valkey = attach_or_start(folder) if settings.redis_url is None else None
    at = addresses(settings, folder, valkey)
    stores = open_stores(settings, database_url=at.database, redis_url=at.redis)
    if settings.database_url is None:
        migrate.upgrade(stores.sql)
    elif check_schema:
        _require_schema(stores)
    celery = make_celery(stores, at.broker)
    return Services(settings, stores, celery, enqueuer(celery), settings.jwt_secret or datadir.secret(folder), valkey)


def addresses(settings: Settings, folder: Path, valkey: EmbeddedValkey | None) -> Addresses:
    """Where the parts are: as the settings say, else in the data folder. Raises `BadSettings`."""
    database = _database_url(settings, folder)
    if valkey is not None:
        return Addresses(database, valkey.url(), settings.broker_url or valkey.broker_url())
    assert settings.redis_url is not None, "without an embedded server there is one that was named"
    return Addresses(database, settings.redis_url, settings.broker_url or _next_database(settings.redis_url))


def _database_url(settings: Settings, folder: Path) -> str:
    if settings.database_url is None:
        return URL.create("sqlite", database=str(folder / "feedsvc.db")).render_as_string()
    try:
        url = make_url(settings.database_url)
    except ArgumentError:
        raise BadSettings({"database_url": ["is not a database URL, like postgresql+psycopg://user@host/name"]}) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise BadSettings({"database_url": ["must be of SQLite or PostgreSQL"]})
    return url.render_as_string(hide_password=False)


def _next_database(redis_url: str) -> str:
    """The broker's default place: the same server, the next database."""
    url = make_url(redis_url)
    if url.drivername == "unix":
        number = int(str(url.query.get("db", 0))) + 1
        return f"redis+socket://{redis_url.removeprefix('unix://').partition('?')[0]}?virtual_host={number}"
    number = int(url.database or url.query.get("db", 0) or 0) + 1  # type: ignore[arg-type]
    return url.set(database=str(number), query={}).render_as_string(hide_password=False)


def _require_schema(stores: Stores) -> None:
    found, head = migrate.revisions(stores.sql)
    if found != head:
        raise SchemaMissing(found, head)
