"""Scratch stores beside the real ones, on the same servers: what is measured there costs what it costs here, and nobody sees it.

SQL: on SQLite a file that has no name any more once it is open; on PostgreSQL a schema made in a transaction that is never
committed. Redis: a logical database of its own, the second after the service's. A crash leaves nothing in SQL; what it leaves in
Redis has a mark, is seen by no reader, and is removed by the next look or calibration.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from sqlalchemy import text
from sqlalchemy.pool import StaticPool

from feedsvc.errors import FeedsvcError
from feedsvc.store.redis.cluster import Cluster
from feedsvc.store.redis.keys import CALIBRATION, Keys
from feedsvc.store.redis.usage import UsageCounter
from feedsvc.store.sql.database import Database, make_engine
from feedsvc.store.sql.tables import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from feedsvc.store import Stores

# Whose mark is younger is being measured in.
_UNDER_WAY_SECONDS = 120
_BESIDE = 2


class NoScratch(FeedsvcError):
    """There is no place to measure in."""

    status = 409
    title = "Conflict"


class _Scratch(Database):
    """A database on one connection, which takes everything with it when it ends."""

    def __init__(self, connection: Connection, *, is_sqlite: bool) -> None:
        self._connection = connection
        self.engine = connection.engine
        self.is_sqlite = is_sqlite

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """As a reader has it."""
        with (
            self._connection.begin_nested()
            if self._connection.in_transaction()
            else self._connection.begin()
        ):
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """As a writer has it; nobody else writes."""
        with self.reading() as connection:
            yield connection


@contextmanager
def scratch_stores(stores: Stores) -> Iterator[Stores]:
    """Stores on the same servers, empty, with tables. Raises `NoScratch`."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(_scratch_redis(stores))
        connection = stack.enter_context(
            _on_sqlite(stores) if stores.sql.is_sqlite else _on_postgresql(stores)
        )
        database = _Scratch(connection, is_sqlite=stores.sql.is_sqlite)
        yield replace(
            stores.without_near_cache(),
            sql=database,
            redis=client,
            keys=Keys(),
            usage=UsageCounter(),
        )


def clean(stores: Stores) -> bool:
    """Remove what a calibration that was killed has left in Redis; says whether there was anything."""
    if isinstance(stores.redis, Cluster):
        return False
    with _beside(stores.redis) as client:
        began = client.get(CALIBRATION)
        is_left = began is not None and time.time() - int(began) > _UNDER_WAY_SECONDS
        if is_left:
            client.flushdb(asynchronous=True)
        return is_left


@contextmanager
def _scratch_redis(stores: Stores) -> Iterator[redis.Redis]:
    if isinstance(stores.redis, Cluster):
        raise NoScratch(
            "On a cluster nothing is measured: calibrate on a single node of the same kind."
        )
    clean(stores)
    with _beside(stores.redis) as client:
        if client.dbsize():
            busy = (
                "another calibration is under way" if client.exists(CALIBRATION) else "it is in use"
            )
            raise NoScratch(
                f"Database {client.connection_pool.connection_kwargs['db']} of this Redis is needed to measure in, and {busy}."
            )
        client.set(CALIBRATION, int(time.time()))
        try:
            yield client
        finally:
            client.flushdb(asynchronous=True)


@contextmanager
def _beside(client: redis.Redis) -> Iterator[redis.Redis]:
    """The second database after the service's. Its connections do not look whose run the data are of: they would empty it."""
    options = {
        name: value
        for name, value in client.connection_pool.connection_kwargs.items()
        if name != "redis_connect_func"
    }
    options |= {
        "connection_class": client.connection_pool.connection_class,
        "db": int(options.get("db") or 0) + _BESIDE,
    }
    beside = redis.Redis.from_pool(redis.ConnectionPool(**options))
    try:
        yield beside
    finally:
        beside.close()


@contextmanager
def _on_sqlite(stores: Stores) -> Iterator[Connection]:
    """A file beside the real one, on the same disk, without a name: it is gone with the connection."""
    folder = Path(stores.sql.engine.url.database or "").resolve().parent
    with tempfile.TemporaryDirectory(prefix="calibration-", dir=folder) as place:
        engine = make_engine(f"sqlite:///{place}/scratch.db", poolclass=StaticPool)
        connection = engine.connect()
        with connection.begin():
            Base.metadata.create_all(connection)
    with connection:
        yield connection
    engine.dispose()


@contextmanager
def _on_postgresql(stores: Stores) -> Iterator[Connection]:
    """A schema that is never committed."""
    with stores.sql.engine.connect() as connection:
        transaction = connection.begin()
        try:
            connection.execute(text("CREATE SCHEMA feedsvc_calibration"))
            connection.execute(text("SET LOCAL search_path TO feedsvc_calibration"))
            Base.metadata.create_all(connection)
            yield connection
        finally:
            transaction.rollback()
