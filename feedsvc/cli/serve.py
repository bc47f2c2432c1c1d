"""`up` runs the whole service; `db` migrates its database."""

from __future__ import annotations

import sys

import click

from feedsvc.cli.output import json_option, show
from feedsvc.embedded import datadir
from feedsvc.services import database_url
from feedsvc.settings import load_settings
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database
from feedsvc.supervise.up import Plan, run_up


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port; 0 takes a free one.",
)
@click.option(
    "--web-workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Web processes."
)
@click.option(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(0, 64),
    help="Fan-out workers; 0 runs none.",
)
@click.option(
    "--demo", is_flag=True, help="Load a demo graph, post into it, and print what to try."
)
def up(host: str, port: int, web_workers: int, workers: int, demo: bool) -> None:
    """Run the whole service. Stores that no setting names are embedded."""
    sys.exit(run_up(load_settings(), Plan(host, port, web_workers, workers, demo)))


@click.group()
def db() -> None:
    """Prepare the database."""


@db.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Migrate the database to the newest revision."""
    settings = load_settings()
    database = Database(database_url(settings, datadir.prepare(settings.data_dir)))
    found, reached = migrate.upgrade(database)
    database.close()
    already = " already" if found == reached else ""
    show(
        {"found": found, "revision": reached}, as_json, lambda: [f"at revision {reached}{already}"]
    )
