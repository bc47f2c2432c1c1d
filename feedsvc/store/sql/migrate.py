"""Bringing a database to the newest revision of `migrations/`, from a command or by itself on an embedded data folder."""

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

_MIGRATIONS = Path(__file__).parents[3] / "migrations"
_LOCK = 7_305_000_001  # two processes that start together migrate one after the other


def upgrade(database: Database) -> tuple[str | None, str]:
    """Migrate to the newest revision; returns the revision found and the one reached. Nothing to do is no error."""
    with database.writing() as connection:
        database.one_at_a_time(connection, _LOCK)
        found, head = _revision(connection), _head()
        if found != head:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return found, head


def revisions(database: Database) -> tuple[str | None, str]:
    """The revision that the database is at, and the newest one."""
    with database.reading() as connection:
        return _revision(connection), _head()


def _head() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "migrations/ holds at least one revision"
    return head


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config
