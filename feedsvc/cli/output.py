"""The parts that commands share: services, the --json option, checks of values, output."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click
from marshmallow import Schema, ValidationError

from feedsvc.formats import ACCEPTED_ID, parse_id
from feedsvc.services import Services, open_services
from feedsvc.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class IdParameter(click.ParamType[int]):
    """An account or post id on the command line, spelled as in the HTTP API."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the id. Raises `BadParameter` for any other text."""
        number = value if isinstance(value, int) else parse_id(value)
        if number is None:
            self.fail(f"{value!r}: {ACCEPTED_ID}", param, ctx)
        return number


def accepted_by(schema: Schema) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return an option's callback: it checks the value by the schema's field of that name."""

    def convert(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return schema.fields[str(param.name)].deserialize(value)
        except ValidationError as error:
            raise click.BadParameter(" ".join(error.messages), ctx, param) from None

    return convert


def opened(*, for_tokens: bool = False) -> closing[Services]:
    """Open the services that the environment's settings describe, for one command.

    `for_tokens`: the command needs the keys of tokens.
    """
    return closing(open_services(load_settings(for_tokens=for_tokens)))


def show(
    answer: dict[str, Any], as_json: bool, lines: Callable[[], list[str]] | None = None
) -> None:
    """Print an answer: as JSON, or as the given lines, by default one line for each field."""
    if as_json:
        text = [json.dumps(answer)]
    elif lines is not None:
        text = lines()
    else:
        width = max(map(len, answer), default=0)
        text = [
            f"{name.replace('_', ' '):<{width}}  {_in_words(value)}"
            for name, value in answer.items()
        ]
    for line in text:
        click.echo(line)


def _in_words(value: Any) -> str:
    """Write a JSON value in one line. A part of an object that is null is left out."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_in_words, value)) or "-"
    if isinstance(value, dict):
        parts = {name.replace("_", " "): part for name, part in value.items() if part is not None}
        return ", ".join(f"{name} {_in_words(part)}" for name, part in parts.items())
    return "-" if value is None else str(value)
