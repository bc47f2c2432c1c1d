"""The command line. Every command is thin: it opens the services, calls a feature, and prints."""

from __future__ import annotations

import logging

import click

from feedsvc import logs
from feedsvc.cli import planning
from feedsvc.cli.console import console
from feedsvc.cli.db import db
from feedsvc.cli.fanout import fanout
from feedsvc.cli.feed import feed
from feedsvc.cli.graph import graph
from feedsvc.cli.output import run
from feedsvc.cli.threshold import threshold
from feedsvc.cli.token import token
from feedsvc.cli.up import up
from feedsvc.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="feedsvc")
def commands() -> None:
    """feedsvc: a hybrid fan-out-on-write / fan-out-on-read home feed service."""
    logs.configure(logging.WARNING)


for command in (up, console, token, graph, threshold, fanout, feed, db):
    commands.add_command(command)
for command in planning.COMMANDS:
    threshold.add_command(command)


def main() -> None:
    """Run the command line and leave with its exit code."""
    run(commands)
