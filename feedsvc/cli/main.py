"""Gather the commands, run one, and turn its failure into one line and an exit code."""

from __future__ import annotations

import json
import logging
import sys

import click

from feedsvc import logs
from feedsvc.cli.access import console, token
from feedsvc.cli.check import check
from feedsvc.cli.db import db
from feedsvc.cli.feeds import fanout, feed
from feedsvc.cli.graph import graph
from feedsvc.cli.serve import beat, up, web, worker
from feedsvc.cli.threshold import threshold
from feedsvc.errors import FeedsvcError
from feedsvc.version import __version__


@click.group(
    commands=[up, web, worker, beat, check, console, token, graph, threshold, fanout, feed, db],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="feedsvc")
def commands() -> None:
    """feedsvc: a hybrid fan-out-on-write / fan-out-on-read home feed service."""
    logs.configure(logging.WARNING)


def main() -> None:
    """Run the command line and exit: 0 for success, 1 for a failure, 2 for misuse.

    Every failure is one line on stderr. Each bad setting has a line of its own.
    """
    try:
        sys.exit(commands.main(standalone_mode=False, prog_name="feedsvc") or 0)
    except click.exceptions.NoArgsIsHelpError as error:  # its message is the whole help
        _fail(f"Missing command (see {error.ctx.command_path} --help)", 2)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "feedsvc"
        _fail(f"{error.format_message().rstrip('.')} (see {where} --help)", 2)
    except click.Abort:
        _fail("interrupted", 130)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except FeedsvcError as error:
        _fail_all(error.lines, 1)
    except BrokenPipeError:
        sys.exit(1)


def _fail(message: str, code: int) -> None:
    """Print the error in one line, as JSON if the command was given --json, and exit."""
    _fail_all([message], code)


def _fail_all(messages: list[str], code: int) -> None:
    """Print one line for each error, or one line of JSON, and exit."""
    lines = [" ".join(message.split()) for message in messages]
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": "; ".join(lines)}), err=True)
    else:
        click.echo("\n".join(f"error: {line}" for line in lines), err=True)
    sys.exit(code)
