"""`threshold guardrails`: the limits on changes of the threshold, the same as over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from marshmallow import ValidationError

from feedsvc.api.threshold_schemas import GuardrailsAnswer, GuardrailsBody
from feedsvc.cli.output import json_option, opened, show
from feedsvc.errors import Invalid
from feedsvc.routing import guardrails, load_shedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.routing.guardrails import GuardrailsInfo
    from feedsvc.store import Stores

_FIELDS = {name: field for name, field in GuardrailsBody().fields.items() if name != "reason"}
_UNSET = "none"


@click.group(name="guardrails")
def guardrails_group() -> None:
    """The limits on changes of the threshold."""


@guardrails_group.command(name="show")
@json_option
def show_command(as_json: bool) -> None:
    """The limits that hold; none applies until it is set."""
    with opened() as services:
        show(_dumped(services.stores, guardrails.current(services.stores)), as_json)


def _as_over_http(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """The value, if the HTTP call takes it; else misuse."""
    try:
        return GuardrailsBody().fields[str(param.name)].deserialize(value)
    except ValidationError as error:
        raise click.BadParameter(" ".join(error.messages), ctx, param) from None


def _limit(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    return value if value in (None, _UNSET) else _as_over_http(ctx, param, _number(value))


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _limit_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, field in reversed(_FIELDS.items()):
        option = click.option(
            f"--{name.replace('_', '-')}",
            callback=_limit,
            metavar="NUMBER|none",
            help=field.metadata["description"],
        )
        command = option(command)
    return command


@guardrails_group.command(name="set")
@_limit_options
@click.option("--reason", required=True, callback=_as_over_http, help="Why; kept in the record.")
@json_option
def set_command(as_json: bool, reason: str, **given: Any) -> None:
    """Set the limits that are named; the others stay as they are. `none` takes one away."""
    named = {
        name: None if value == _UNSET else value
        for name, value in given.items()
        if value is not None
    }
    if not named:
        raise click.UsageError("Name a limit to set.")
    with opened() as services:
        seen = guardrails.current(services.stores)
        wanted = replace(seen.guardrails, **named)
        messages = GuardrailsBody().validate({**vars(wanted), "reason": reason})
        for field, message in messages.items():
            raise Invalid("json", field, " ".join(message))
        info = guardrails.change(
            services.stores, wanted, reason=reason, changed_by="command line", if_match=seen.version
        )
        show(_dumped(services.stores, info), as_json)


def _dumped(stores: Stores, info: GuardrailsInfo) -> dict[str, Any]:
    dumped: dict[str, Any] = GuardrailsAnswer().dump(
        {**vars(info), **vars(info.guardrails), "relief": load_shedding.current(stores)}
    )
    return dumped
