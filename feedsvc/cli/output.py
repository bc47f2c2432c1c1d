"""What every command has in common: its services, its answer, and how it fails."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from marshmallow import ValidationError

from feedsvc.api.fields import Id
from feedsvc.errors import FeedsvcError
from feedsvc.services import Services, open_services
from feedsvc.settings import load_settings
from feedsvc.store.redis.client import UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class AccountId(click.ParamType[int]):
    """An account or post id on the command line."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The id; misuse unless it is spelled as the contract has it."""
        if isinstance(value, int):
            return value
        try:
            number: int = Id().deserialize(value)
        except ValidationError as error:
            self.fail(f"{value!r}: {' '.join(error.messages)}", param, ctx)
        return number


@contextmanager
def opened() -> Iterator[Services]:
    """The services that the environment's settings describe, for one command."""
    services = open_services(load_settings())
    try:
        yield services
    finally:
        services.close()


def show(
    answer: dict[str, Any], as_json: bool, lines: Callable[[], list[str]] | None = None
) -> None:
    """Print an answer: as JSON, or as lines for people (by default one for each of its fields)."""
    if as_json:
        click.echo(json.dumps(answer))
        return
    width = max(map(len, answer), default=0)
    for line in (
        lines()
        if lines
        else [
            f"{name.replace('_', ' '):<{width}}  {'-' if value is None else value}"
            for name, value in answer.items()
        ]
    ):
        click.echo(line)


def fail(message: str, code: int) -> None:
    """Say in one line what is wrong, and leave."""
    text = " ".join(message.split())
    click.echo(json.dumps({"error": text}) if "--json" in sys.argv else f"error: {text}", err=True)
    sys.exit(code)


def run(command: click.Group) -> None:
    """Run the command line: 0 done, 1 failed, 2 misused; every failure is one line on stderr."""
    try:
        sys.exit(command.main(standalone_mode=False, prog_name="python -m feedsvc") or 0)
    except click.exceptions.NoArgsIsHelpError as error:  # its message is the whole help
        fail(f"Missing command. (see {error.ctx.command_path} --help)", 2)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "python -m feedsvc"
        fail(f"{error.format_message()} (see {where} --help)", 2)
    except click.Abort:
        fail("interrupted", 130)
    except click.ClickException as error:
        fail(error.format_message(), 1)
    except FeedsvcError as error:
        fail(error.detail, 1)
    except UNAVAILABLE as error:
        fail(f"Redis cannot be reached: {error}", 1)
    except BrokenPipeError:
        sys.exit(1)
