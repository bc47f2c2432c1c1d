"""`up`: the whole service."""

from __future__ import annotations

import sys

import click

from feedsvc.settings import load_settings
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
    """Run the whole service; what no setting names is embedded."""
    sys.exit(run_up(load_settings(), Plan(host, port, web_workers, workers, demo)))
