"""`console`: a link that signs one person in to the console, once."""

from __future__ import annotations

import click

from feedsvc.cli.output import AccountId, json_option, opened, show
from feedsvc.console import codes


@click.command()
@click.option(
    "--account",
    default="1",
    show_default=True,
    type=AccountId(),
    help="The account that the record will name.",
)
@click.option("--read-only", is_flag=True, help="To look, not to change.")
@click.option(
    "--url",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="Where the service is reached.",
)
@json_option
def console(account: int, read_only: bool, url: str, as_json: bool) -> None:
    """Print a link to the console that signs its first reader in, within an hour."""
    with opened() as services:
        link = codes.link(
            services.stores,
            url.rstrip("/"),
            account,
            ["admin:read"] if read_only else ["admin:read", "admin:write"],
        )
    show({"link": link}, as_json, lambda: [link])
