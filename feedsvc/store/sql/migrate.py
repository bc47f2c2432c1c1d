"""Migrate a database to the newest revision of `migrations/`.

`feedsvc db upgrade` migrates a named database. An embedded database is migrated when it is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from feedsvc.errors import FeedsvcError
from feedsvc.store.sql.faults import one_line

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.store.sql.database import Database

_log = structlog.get_logger()

# A wheel has the folder inside the package. A checkout has it next to the package.
_PACKAGE = Path(__file__).parents[2]
_CARRIED = _PACKAGE / "migrations"
_MIGRATIONS = _CARRIED if _CARRIED.is_dir() else _PACKAGE.parent / "migrations"
# Two processes that start together migrate one after the other.
_LOCK = 7_305_000_001


class SchemaOutdated(FeedsvcError):
    """A database that the settings name is not at the newest revision."""

    def __init__(self, found: str | None, head: str) -> None:
        super().__init__(
            f"the database is at revision {found or 'none'}, and {head} is needed: "
            "run feedsvc db upgrade"
        )


class SchemaNewer(FeedsvcError):
    """A newer release has migrated the database."""

    def __init__(self, found: str, head: str) -> None:
        super().__init__(
            f"the database is at revision {found}, which this release does not know "
            f"(its newest is {head}): nothing was changed; run db upgrade of the newer release"
        )


class WrongEncoding(FeedsvcError):
    """The database's encoding cannot represent every text."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"the database's encoding is {encoding}, and UTF8 is needed: create another one with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


class MigrationFailed(FeedsvcError):
    """The database refuses a statement of a migration. Nothing was changed."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"the database cannot be migrated, and nothing was changed: {cause}")


def upgrade(database: Database) -> tuple[str | None, str]:
    """Migrate to the newest revision. Returns the revision before and the newest one.

    Changes nothing if the database is at the newest revision already. Raises `SchemaNewer`,
    `WrongEncoding` and `MigrationFailed`.
    """
    try:
        with database.writing() as connection:
            database.one_at_a_time(connection, _LOCK)
            return _upgrade(connection)
    except SQLAlchemyError as error:
        raise MigrationFailed(one_line(error)) from error


def check(database: Database) -> None:
    """Refuse a database that this release cannot work on.

    A release runs on the schema of a newer one, because each migration leaves the release before it
    running. Raises `SchemaOutdated` and `WrongEncoding`.
    """
    with database.reading() as connection:
        _check_encoding(connection)
        found, head = _revisions(connection)
    if found is not None and not is_known(found):
        _log.warning("database.newer", revision=found, known=head)
    elif found != head:
        raise SchemaOutdated(found, head)


def revisions(database: Database) -> tuple[str | None, str]:
    """Return the revision of the database and the newest revision."""
    with database.reading() as connection:
        return _revisions(connection)


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    _check_encoding(connection)
    found, head = _revisions(connection)
    if found is not None and not is_known(found):
        raise SchemaNewer(found, head)
    if found != head:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return found, head


def _check_encoding(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        encoding = connection.scalar(text("SELECT current_setting('server_encoding')"))
        if encoding != "UTF8":
            raise WrongEncoding(str(encoding))


def _revisions(connection: Connection) -> tuple[str | None, str]:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "migrations/ has at least one revision"
    return MigrationContext.configure(connection).get_current_revision(), head


def is_known(revision: str) -> bool:
    """Return whether this release has a revision. Only a newer release has others."""
    scripts = ScriptDirectory.from_config(_config())
    return any(script.revision == revision for script in scripts.walk_revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config
