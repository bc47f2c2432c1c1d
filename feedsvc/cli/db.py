"""`db upgrade` migrates the database."""

from __future__ import annotations

from contextlib import closing

import click

from feedsvc.cli.output import json_option, show
from feedsvc.embedded import datadir
from feedsvc.services import database_url
from feedsvc.settings import load_settings
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database


@click.group()
def db() -> None:
    """Prepare the database."""


@db.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Migrate the database to the newest revision."""
    settings = load_settings()
    folder = settings.data_dir
    if settings.database_url is None:
        folder = datadir.prepare(folder)
    with closing(Database(database_url(settings, folder), settings)) as database:
        found, reached = migrate.upgrade(database)
    already = " already" if found == reached else ""
    show(
        {"found": found, "revision": reached}, as_json, lambda: [f"at revision {reached}{already}"]
    )
