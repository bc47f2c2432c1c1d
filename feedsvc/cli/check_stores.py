"""Check that the database and Redis meet the service's needs. Changes no stored data."""

from __future__ import annotations

import secrets
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import redis
import sqlalchemy as sa
from redis.exceptions import RedisClusterException

from feedsvc.errors import StoreUnavailable
from feedsvc.fanout import sweep
from feedsvc.store import clocks
from feedsvc.store.redis import commands
from feedsvc.store.redis.client import connect_plainly, plain_nodes
from feedsvc.store.redis.keys import BEGINNINGS, run_id
from feedsvc.store.sql import clock, migrate
from feedsvc.store.sql.database import Database
from feedsvc.store.sql.tables import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from feedsvc.settings import Settings

State = Literal["ok", "warning", "fault"]

# The oldest versions that the service works with. PostgreSQL 13 is the first one with transaction
# numbers of 64 bits (`xid8`). The Lua scripts use functions of Redis 7.0.
_OLDEST_POSTGRESQL, _OLDEST_REDIS = 13, (7, 0)
# The number of keys that the check samples to see whether another program uses the database.
_LOOKED_AT = 1_000
_OUR_BEGINNINGS = tuple(beginning.encode() for beginning in BEGINNINGS)
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True)
class Finding:
    """The state of one part of the service, and the advice to the operator in `to_do`."""

    part: str
    state: State
    found: str
    to_do: str = ""


def ask_database(url: str, settings: Settings) -> Iterator[Finding]:
    """Connect to the database. Check its version, encoding, schema, writes, rights and clock."""
    with closing(Database(url, settings)) as database:
        try:
            with database.reading() as connection:
                yield _server(database, connection)
                if not database.is_sqlite:
                    yield _encoding(connection)
            schema = _schema(database)
            yield schema
            if schema.state != "fault":
                yield _writes(database)
            if not database.is_sqlite:
                yield _may_migrate(database) if schema.state == "fault" else _rights(database)
                yield _clock("database clock", lambda: _database_seconds(database))
        except StoreUnavailable as error:
            yield Finding(
                "database",
                "fault",
                error.cause or str(error.__cause__),
                "check FEEDSVC_DATABASE_URL, and that the server runs and lets this host in",
            )
        except sa.exc.DBAPIError as error:
            yield Finding("database", "fault", str(error.orig), "give the user its rights")


def _server(database: Database, connection: Connection) -> Finding:
    if database.is_sqlite:
        return Finding("database", "ok", f"SQLite {_scalar(connection, 'SELECT sqlite_version()')}")
    version = str(_scalar(connection, "SHOW server_version"))
    number = int(str(_scalar(connection, "SHOW server_version_num"))) // 10_000
    found = f"PostgreSQL {version.split(maxsplit=1)[0]}"
    if number < _OLDEST_POSTGRESQL:
        return Finding("database", "fault", found, f"use PostgreSQL {_OLDEST_POSTGRESQL} or newer")
    return Finding("database", "ok", found)


def _encoding(connection: Connection) -> Finding:
    encoding = str(_scalar(connection, "SHOW server_encoding"))
    if encoding != "UTF8":
        return Finding(
            "database encoding",
            "fault",
            encoding,
            "create another one: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        )
    return Finding("database encoding", "ok", encoding)


def _schema(database: Database) -> Finding:
    found, head = migrate.revisions(database)
    if found == head:
        return Finding("database schema", "ok", f"revision {head}")
    if found is not None and not migrate.is_known(found):
        return Finding(
            "database schema", "warning", f"revision {found}, newer than this release's {head}"
        )
    return Finding(
        "database schema",
        "fault",
        f"revision {found or 'none'}, and {head} is needed",
        "run feedsvc db upgrade",
    )


def _writes(database: Database) -> Finding:
    try:
        database.check_writable()
    except StoreUnavailable as error:
        return Finding(
            "database writes",
            "fault",
            error.cause or str(error),
            "connect to the primary, or make the database writable",
        )
    return Finding("database writes", "ok", "accepted")


def _may_migrate(database: Database) -> Finding:
    statement = "SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE')"
    with database.reading() as connection:
        schema, is_allowed = connection.execute(sa.text(statement)).one()
    if is_allowed:
        return Finding("database rights", "ok", f"may create tables in {schema}")
    return Finding(
        "database rights",
        "fault",
        f"the user may not create tables in the schema {schema}",
        f"make the user the owner of the database, or GRANT CREATE ON SCHEMA {schema} TO it",
    )


def _rights(database: Database) -> Finding:
    """Check the user's rights on the tables that exist."""
    asked = " AND ".join(f"has_table_privilege(c.oid, '{right}')" for right in _RIGHTS)
    statement = sa.text(
        "SELECT c.relname FROM pg_class c "  # noqa: S608 -- our own words
        "WHERE c.relname = ANY(:names) AND pg_table_is_visible(c.oid) "
        f"AND NOT ({asked})"
    )
    with database.reading() as connection:
        lacking = sorted(connection.scalars(statement, {"names": list(Base.metadata.tables)}))
    if lacking:
        return Finding(
            "database rights",
            "fault",
            f"the user lacks rights on {', '.join(lacking)}",
            f"GRANT {', '.join(_RIGHTS)} ON ALL TABLES IN SCHEMA … TO the user",
        )
    return Finding("database rights", "ok", "on every table")


def ask_redis(url: str) -> Iterator[Finding]:
    """Connect to Redis. Check its version, policy, rights, writes, contents, clock and sweep."""
    try:
        with closing(connect_plainly(url)) as client:
            with suppress(redis.exceptions.NoPermissionError):
                client.ping()
            yield from _redis_server(client)
            yield _redis_rights(url)
            yield _redis_writes(client)
            yield from _redis_contents(client)
            with suppress(redis.ResponseError):  # a forbidden command is a finding of its own
                yield _clock("Redis clock", lambda: clocks.redis_seconds(client))
                yield _last_sweep(client)
    except (redis.RedisError, RedisClusterException, OSError) as error:
        yield Finding(
            "Redis",
            "fault",
            str(error),
            "check FEEDSVC_REDIS_URL, and that the server runs and lets this host in",
        )


def _redis_server(client: Any) -> Iterator[Finding]:
    """Check the version and the eviction policy, if the user may use INFO."""
    try:
        about: dict[str, Any] = client.info()
    except redis.ResponseError:
        yield Finding("Redis", "ok", "reachable; INFO is forbidden, so its version is not known")
        return
    name, version = _name_and_version(about)
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if name == "Redis" and numbers < _OLDEST_REDIS:
        oldest = ".".join(map(str, _OLDEST_REDIS))
        advice = f"use Redis {oldest} or newer, or Valkey"
        yield Finding("Redis", "fault", f"Redis {version}", advice)
    else:
        yield Finding("Redis", "ok", f"{name} {version}")
    policy = str(about.get("maxmemory_policy", ""))
    if policy.startswith("allkeys-"):
        yield Finding(
            "Redis memory",
            "fault",
            f"maxmemory-policy {policy}",
            "set maxmemory-policy to noeviction or volatile-ttl: any other key may vanish",
        )
    elif policy:
        yield Finding("Redis memory", "ok", f"maxmemory-policy {policy}")


def _redis_writes(client: Any) -> Finding:
    name = f"feedsvc-check-{secrets.token_hex(8)}"
    try:
        client.set(name, 1, ex=10)
        client.delete(name)
    except redis.ResponseError as error:
        return Finding(
            "Redis writes",
            "fault",
            str(error),
            "make the server accept writes of this user",
        )
    return Finding("Redis writes", "ok", "accepted")


def _redis_rights(url: str) -> Finding:
    """Check that each server allows the user every command that the service needs."""
    names: set[str] = set()
    try:
        for node in plain_nodes(url):
            with closing(node):
                names.update(commands.forbidden(node, commands.needed(url)))
    except commands.RedisRefuses as error:
        return Finding("Redis rights", "fault", str(error))
    if names:
        return Finding(
            "Redis rights",
            "fault",
            f"the user may not use {', '.join(sorted(names))}",
            "docs/operations.md has the line that allows what the service needs",
        )
    return Finding("Redis rights", "ok", "every command that is needed")


def _redis_contents(client: Any) -> Iterator[Finding]:
    """Report a database that holds the keys of another program, because the service empties it."""
    if isinstance(client, redis.RedisCluster):
        return
    with suppress(redis.ResponseError):
        if client.get(run_id()) is not None:
            return
        # After a FLUSHDB open connections write keys of the service before one writes the run.
        some = islice(client.scan_iter(count=_LOOKED_AT), _LOOKED_AT)
        foreign = [key for key in some if not key.startswith(_OUR_BEGINNINGS)]
        if foreign:
            yield Finding(
                "Redis contents",
                "fault",
                f"keys of another program, such as {foreign[0].decode(errors='replace')}",
                "choose an empty database: the service empties the one that it uses",
            )


def _name_and_version(about: dict[str, Any]) -> tuple[str, str]:
    if "valkey_version" in about:
        return "Valkey", str(about["valkey_version"])
    return "Redis", str(about["redis_version"])


def _last_sweep(client: Any) -> Finding:
    age = sweep.seconds_since(client)
    if age is None:
        return Finding("sweep", "ok", "none within an hour: no worker has run with beat")
    if age > sweep.LATE_SECONDS:
        return Finding(
            "sweep", "warning", f"the last one ended {age:.0f} s ago", "start a worker and beat"
        )
    return Finding("sweep", "ok", f"the last one ended {age:.0f} s ago")


def _clock(part: str, read: Any) -> Finding:
    ahead = clocks.ahead(read)
    if abs(ahead) <= clocks.TOLERATED_SECONDS:
        return Finding(part, "ok", "as on this host")
    where = "ahead of" if ahead > 0 else "behind"
    return Finding(
        part,
        "fault",
        f"{abs(ahead):.1f} s {where} this host's",
        "set both clocks by NTP",
    )


def _database_seconds(database: Database) -> float:
    with database.reading() as connection:
        return clock.ms(connection) / 1000


def _scalar(connection: Connection, statement: str) -> object:
    return connection.scalar(sa.text(statement))
