"""Scratch stores: empty stores on the same servers, where work costs the same and no user sees it.

On SQLite they are an open file that is already unlinked. On PostgreSQL they are a schema, made in a
transaction that never commits. On Redis they are logical database n + 2, where n is the service's.
A crash leaves nothing in SQL. It may leave keys in the scratch database of Redis. A mark shows that
a calibration wrote them, and the next survey or calibration removes them.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.pool import StaticPool

from feedsvc.errors import FeedsvcError
from feedsvc.store.redis.cluster import Cluster
from feedsvc.store.redis.connection_pool import ServerPool
from feedsvc.store.redis.keys import CALIBRATION, Keys
from feedsvc.store.redis.single_server import SingleServer
from feedsvc.store.redis.usage import UsageCounter
from feedsvc.store.sql.database import Database, make_engine
from feedsvc.store.sql.tables import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feedsvc.store import Stores

# A mark younger than this means that a calibration is running.
_UNDER_WAY_SECONDS = 120
_DATABASES_AFTER = 2


class NoScratch(FeedsvcError):
    """There is no scratch database to measure in."""

    status = 409


class _ScratchDatabase(Database):
    """A database on one connection. Its data are gone when the connection ends."""

    def __init__(self, connection: Connection, *, is_sqlite: bool) -> None:
        self._connection = connection
        self.engine = connection.engine
        self.is_sqlite = is_sqlite

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction, or a savepoint within one."""
        with (
            self._connection.begin_nested()
            if self._connection.in_transaction()
            else self._connection.begin()
        ):
            yield self._connection

    # The scratch database has no other writer.
    writing = reading


@contextmanager
def scratch_stores(stores: Stores) -> Iterator[Stores]:
    """Open empty stores with tables on the same servers. Raises `NoScratch`."""
    with (
        _scratch_redis(stores) as client,
        _on_sqlite(stores) if stores.sql.is_sqlite else _on_postgresql(stores) as connection,
    ):
        database = _ScratchDatabase(connection, is_sqlite=stores.sql.is_sqlite)
        yield replace(
            stores.with_empty_near_cache(),
            sql=database,
            redis=client,
            keys=Keys(),
            usage=UsageCounter(),
        )


def clean(stores: Stores) -> bool:
    """Remove the keys of a killed calibration from Redis. Returns whether there were any."""
    if isinstance(stores.redis, Cluster):
        return False
    with _scratch_client(stores.redis) as client:
        began = client.get(CALIBRATION)
        is_left = began is not None and _seconds(client) - int(began) > _UNDER_WAY_SECONDS
        if is_left:
            client.flushdb(asynchronous=True)
        return is_left


def _seconds(client: SingleServer) -> int:
    """Return the server's time. The next calibration may run on a host with another clock."""
    return int(client.time()[0])


@contextmanager
def _scratch_redis(stores: Stores) -> Iterator[SingleServer]:
    if isinstance(stores.redis, Cluster):
        raise NoScratch(
            "A cluster has no scratch database. Calibrate on a single node of the same kind."
        )
    clean(stores)
    with _scratch_client(stores.redis) as client:
        if client.dbsize():
            number = client.connection_pool.connection_kwargs["db"]
            reason = (
                "another calibration is under way"
                if client.exists(CALIBRATION)
                else "it is in use; move its data to another database"
            )
            raise NoScratch(f"Calibration needs database {number} of this Redis, but {reason}.")
        client.set(CALIBRATION, _seconds(client))
        try:
            yield client
        finally:
            client.flushdb(asynchronous=True)


@contextmanager
def _scratch_client(client: SingleServer) -> Iterator[SingleServer]:
    """Open the scratch database.

    Its connections skip the check of the server's run, which would empty the database.
    """
    options = {
        name: value
        for name, value in client.connection_pool.connection_kwargs.items()
        if name != "redis_connect_func"
    }
    options |= {
        "connection_class": client.connection_pool.connection_class,
        "db": int(options.get("db") or 0) + _DATABASES_AFTER,
    }
    with SingleServer.from_pool(ServerPool(**options)) as scratch:
        yield scratch


@contextmanager
def _on_sqlite(stores: Stores) -> Iterator[Connection]:
    """Open a file on the service's disk and unlink it. It is gone when the connection ends."""
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
    """Make a schema in a transaction that is rolled back."""
    with stores.sql.engine.connect() as connection:
        transaction = connection.begin()
        try:
            connection.execute(text("CREATE SCHEMA feedsvc_calibration"))
            connection.execute(text("SET LOCAL search_path TO feedsvc_calibration"))
            Base.metadata.create_all(connection)
            yield connection
        finally:
            transaction.rollback()
