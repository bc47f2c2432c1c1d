"""Migrating a database to the newest revision of `migrations/`.

A command does it for a named database. An embedded database is migrated when it is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from feedsvc.store.sql.database import Database

# A wheel carries the folder inside the package. A checkout has it beside the package.
_PACKAGE = Path(__file__).parents[2]
_CARRIED = _PACKAGE / "migrations"
_MIGRATIONS = _CARRIED if _CARRIED.is_dir() else _PACKAGE.parent / "migrations"
# Two processes that start together migrate one after the other.
_LOCK = 7_305_000_001


def upgrade(database: Database) -> tuple[str | None, str]:
    """Migrate to the newest revision. Returns the revision before and the newest one.

    A database that is at the newest revision already is left as it is.
    """
    with database.writing() as connection:
        database.one_at_a_time(connection, _LOCK)
        found, head = _revisions(connection)
        if found != head:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return found, head


def revisions(database: Database) -> tuple[str | None, str]:
    """Return the revision of the database and the newest revision."""
    with database.reading() as connection:
        return _revisions(connection)


def _revisions(connection: Connection) -> tuple[str | None, str]:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "migrations/ has at least one revision"
    return MigrationContext.configure(connection).get_current_revision(), head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config
