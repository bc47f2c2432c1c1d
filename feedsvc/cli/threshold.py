"""`threshold`: the same as the HTTP calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from marshmallow import ValidationError

from feedsvc.api.schemas import RollbackBody
from feedsvc.api.threshold_schemas import ThresholdAnswer
from feedsvc.cli.guardrails import guardrails_group
from feedsvc.cli.output import json_option, opened, show
from feedsvc.cli.replay import simulate_command
from feedsvc.formats import MAX_ID
from feedsvc.planning import change
from feedsvc.routing import versions

if TYPE_CHECKING:
    from feedsvc.routing.versions import PolicyInfo

_COMMAND_LINE = "command line"
_count = click.IntRange(1, MAX_ID)


def _as_over_http(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """The value, if the HTTP calls take it; else misuse."""
    try:
        return RollbackBody().fields[str(param.name)].deserialize(value)
    except ValidationError as error:
        raise click.BadParameter(" ".join(error.messages), ctx, param) from None


_reason = click.option(
    "--reason", required=True, callback=_as_over_http, help="Why; kept in the record."
)


@click.group()
def threshold() -> None:
    """The celebrity threshold."""


threshold.add_command(guardrails_group)
threshold.add_command(simulate_command)


@threshold.command(name="show")
@json_option
def show_command(as_json: bool) -> None:
    """The version that holds."""
    with opened() as services:
        _show(versions.current(services.stores), as_json)


@threshold.command(name="set")
@click.option(
    "--promote-at", required=True, type=_count, help="Followers from which on an account is pulled."
)
@click.option(
    "--demote-at", required=True, type=_count, help="Followers below which an account is pushed."
)
@click.option(
    "--rollout-percent",
    default=100,
    show_default=True,
    type=click.IntRange(0, 100),
    help="Share of accounts that follow it.",
)
@click.option("--force", is_flag=True, help="Change it although a guardrail refuses.")
@_reason
@json_option
def set_command(as_json: bool, **values: Any) -> None:
    """Set a new version."""
    with opened() as services:
        _show(
            change.change(services.stores, **values, changed_by=_COMMAND_LINE, if_match=None),
            as_json,
        )


@threshold.command()
@json_option
def history(as_json: bool) -> None:
    """Every version, newest first."""
    with opened() as services:
        versions = [_dumped(info) for info in _all(services.stores)]
    show({"versions": versions}, as_json, lambda: [_line(version) for version in versions])


@threshold.command()
@click.argument("version", type=int, callback=_as_over_http)
@_reason
@json_option
def rollback(version: int, reason: str, as_json: bool) -> None:
    """Set a new version equal to an old one."""
    with opened() as services:
        info = change.rollback(
            services.stores, version=version, reason=reason, changed_by=_COMMAND_LINE, if_match=None
        )
    _show(info, as_json)


def _all(stores: Any) -> list[PolicyInfo]:
    infos, cursor = [], None
    while True:
        page = versions.history(stores, cursor, 100)
        infos += page.items
        if page.next_cursor is None:
            return infos
        cursor = page.next_cursor


def _dumped(info: PolicyInfo) -> dict[str, Any]:
    dumped: dict[str, Any] = ThresholdAnswer().dump(info)
    return dumped


def _show(info: PolicyInfo, as_json: bool) -> None:
    version = _dumped(info)
    show(version if as_json else _for_people(version), as_json)


def _for_people(version: dict[str, Any]) -> dict[str, Any]:
    """What there is of a version, each part in words."""
    told = {name: value for name, value in version.items() if value is not None}
    if "predicted" in told:
        told["predicted"] = " ".join(told["predicted"]["words"])
    for name in ("from", "watch", "measured"):
        if name in told:
            told[name] = ", ".join(
                f"{part.replace('_', ' ')} {value}"
                for part, value in told[name].items()
                if value is not None
            )
    return told


def _line(version: dict[str, Any]) -> str:
    lines = "promote_at {promote_at}  demote_at {demote_at}  {rollout_percent} %".format(**version)
    forced = ", forced" if version["forced"] else ""
    return "{version:>4}  {changed_at}  {lines}  {changed_by}{forced}: {reason}".format(
        **{**version, "lines": lines, "forced": forced}
    )
