"""`db`: the database."""

from __future__ import annotations

import click

from feedsvc.cli.output import json_option, show
from feedsvc.embedded import datadir
from feedsvc.services import database_url
from feedsvc.settings import load_settings
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database


@click.group()
def db() -> None:
    """The database."""


@db.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Migrate the database to the newest revision."""
    settings = load_settings()
    folder = datadir.prepare(settings.data_dir)
    database = Database(database_url(settings, folder))
    found, reached = migrate.upgrade(database)
    database.close()
    show(
        {"found": found, "revision": reached},
        as_json,
        lambda: [f"at revision {reached}" + (" already" if found == reached else "")],
    )
