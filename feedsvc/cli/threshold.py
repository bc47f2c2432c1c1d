"""`threshold` and `threshold guardrails`: show and change them, as the HTTP calls do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from feedsvc.api.schemas import RollbackBody
from feedsvc.api.threshold_schemas import GuardrailsAnswer, GuardrailsBody, ThresholdAnswer
from feedsvc.cli.output import accepted_by, json_option, opened, show
from feedsvc.cli.planning import calibrate, inputs, preview_command, recommend
from feedsvc.cli.replay import simulate_command
from feedsvc.errors import Invalid
from feedsvc.formats import MAX_ID
from feedsvc.planning import change
from feedsvc.routing import guardrails, load_shedding, versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.routing.guardrails import GuardrailsInfo
    from feedsvc.routing.versions import PolicyInfo
    from feedsvc.store import Stores

_COMMAND_LINE = "command line"
_NO_LIMIT = "none"
_PAGE = 100
_LIMITS = {name: field for name, field in GuardrailsBody().fields.items() if name != "reason"}
_count = click.IntRange(1, MAX_ID)
_limit_value = accepted_by(GuardrailsBody())
_reason = click.option(
    "--reason",
    required=True,
    callback=accepted_by(RollbackBody()),
    help="Why; stored with the change.",
)


@click.group(commands=[preview_command, recommend, inputs, calibrate, simulate_command])
def threshold() -> None:
    """Show, change and plan the celebrity threshold."""


@threshold.command(name="show")
@json_option
def show_command(as_json: bool) -> None:
    """Show the current threshold."""
    with opened() as services:
        _show(versions.current(services.stores), as_json)


@threshold.command(name="set")
@click.option(
    "--promote-at",
    required=True,
    type=_count,
    help="Pull accounts with this many followers or more.",
)
@click.option(
    "--demote-at", required=True, type=_count, help="Push accounts with fewer followers than this."
)
@click.option(
    "--rollout-percent",
    default=100,
    show_default=True,
    type=click.IntRange(0, 100),
    help="Per cent of accounts that it applies to.",
)
@click.option("--force", is_flag=True, help="Set it even if a guardrail refuses.")
@_reason
@json_option
def set_command(as_json: bool, **values: Any) -> None:
    """Set the threshold."""
    with opened() as services:
        _show(
            change.change(services.stores, **values, changed_by=_COMMAND_LINE, if_match=None),
            as_json,
        )


@threshold.command()
@json_option
def history(as_json: bool) -> None:
    """List all versions, newest first."""
    with opened() as services:
        page = versions.history(services.stores, None, _PAGE)
        infos = list(page.items)
        while page.next_cursor is not None:
            page = versions.history(services.stores, page.next_cursor, _PAGE)
            infos += page.items
    answers = [ThresholdAnswer().dump(info) for info in infos]
    show({"versions": answers}, as_json, lambda: [_line(answer) for answer in answers])


@threshold.command()
@click.argument("version", type=int, callback=accepted_by(RollbackBody()))
@_reason
@json_option
def rollback(version: int, reason: str, as_json: bool) -> None:
    """Go back to an earlier version, as a new version."""
    with opened() as services:
        info = change.rollback(
            services.stores, version=version, reason=reason, changed_by=_COMMAND_LINE, if_match=None
        )
    _show(info, as_json)


@threshold.group(name="guardrails")
def guardrails_group() -> None:
    """Show and set the limits on changes of the threshold."""


@guardrails_group.command(name="show")
@json_option
def show_guardrails(as_json: bool) -> None:
    """Show the limits. A limit that was never set does not apply."""
    with opened() as services:
        _show_guardrails(services.stores, guardrails.current(services.stores), as_json)


def _limit(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    return value if value in (None, _NO_LIMIT) else _limit_value(ctx, param, _number(value))


def _number(text: str) -> int | float | str:
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        return float(text)
    return text


def _limit_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, field in reversed(_LIMITS.items()):
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
@_reason
@json_option
def set_guardrails(as_json: bool, reason: str, **given: Any) -> None:
    """Set the named limits. `none` removes a limit; limits without an option stay."""
    named = {
        name: None if value == _NO_LIMIT else value
        for name, value in given.items()
        if value is not None
    }
    if not named:
        raise click.UsageError("Name a limit to set.")
    with opened() as services:
        current = guardrails.current(services.stores)
        wanted = replace(current.guardrails, **named)
        messages = GuardrailsBody().validate({**vars(wanted), "reason": reason})
        for field, message in messages.items():
            raise Invalid("json", field, " ".join(message))
        info = guardrails.change(
            services.stores,
            wanted,
            reason=reason,
            changed_by=_COMMAND_LINE,
            if_match=current.version,
        )
        _show_guardrails(services.stores, info, as_json)


def _show_guardrails(stores: Stores, info: GuardrailsInfo, as_json: bool) -> None:
    shown = {**vars(info), **vars(info.guardrails), "relief": load_shedding.current(stores)}
    show(GuardrailsAnswer().dump(shown), as_json)


def _show(info: PolicyInfo, as_json: bool) -> None:
    version: dict[str, Any] = ThresholdAnswer().dump(info)
    if not as_json and version["predicted"] is not None:
        version["predicted"] = " ".join(version["predicted"]["words"])
    show(version, as_json)


def _line(version: dict[str, Any]) -> str:
    forced = ", forced" if version["forced"] else ""
    return (
        f"{version['version']:>4}  {version['changed_at']}  promote_at {version['promote_at']}  "
        f"demote_at {version['demote_at']}  {version['rollout_percent']} %  "
        f"{version['changed_by']}{forced}: {version['reason']}"
    )
