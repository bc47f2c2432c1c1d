"""`threshold`: the same as the HTTP calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from feedsvc.api.schemas import ThresholdAnswer
from feedsvc.cli.output import json_option, opened, show
from feedsvc.threshold import policies

if TYPE_CHECKING:
    from feedsvc.threshold.policies import PolicyInfo

_COMMAND_LINE = "command line"
_count = click.IntRange(1, 2**63 - 1)
_reason = click.option("--reason", required=True, help="Why; kept in the record.")


@click.group()
def threshold() -> None:
    """The celebrity threshold."""


@threshold.command(name="show")
@json_option
def show_command(as_json: bool) -> None:
    """The version that holds."""
    with opened() as services:
        show(_dumped(policies.current(services.stores)), as_json)


@threshold.command(name="set")
@click.option("--promote-at", required=True, type=_count, help="Followers from which on an account is pulled.")
@click.option("--demote-at", required=True, type=_count, help="Followers below which an account is pushed.")
@click.option("--rollout-percent", default=100, show_default=True, type=click.IntRange(0, 100), help="Share of accounts that follow it.")
@_reason
@json_option
def set_command(as_json: bool, **values: Any) -> None:
    """Set a new version."""
    with opened() as services:
        show(_dumped(policies.change(services.stores, **values, changed_by=_COMMAND_LINE, if_match=None)), as_json)


@threshold.command()
@json_option
def history(as_json: bool) -> None:
    """Every version, newest first."""
    with opened() as services:
        versions = [_dumped(info) for info in _all(services.stores)]
    show({"versions": versions}, as_json, lambda: [_line(version) for version in versions])


@threshold.command()
@click.argument("version", type=click.IntRange(1))
@_reason
@json_option
def rollback(version: int, reason: str, as_json: bool) -> None:
    """Set a new version equal to an old one."""
    with opened() as services:
        info = policies.rollback(services.stores, version=version, reason=reason, changed_by=_COMMAND_LINE, if_match=None)
    show(_dumped(info), as_json)


def _all(stores: Any) -> list[PolicyInfo]:
    infos, cursor = [], None
    while True:
        page = policies.history(stores, cursor, 100)
        infos += page.items
        if page.next_cursor is None:
            return infos
        cursor = page.next_cursor


def _dumped(info: PolicyInfo) -> dict[str, Any]:
    dumped: dict[str, Any] = ThresholdAnswer().dump(info)
    return dumped


def _line(version: dict[str, Any]) -> str:
    return "{version:>4}  {changed_at}  promote_at {promote_at}  demote_at {demote_at}  {rollout_percent} %  {changed_by}: {reason}".format(
        **version
    )
