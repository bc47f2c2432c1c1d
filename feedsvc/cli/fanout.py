"""`fanout`: how far fan-outs are, and a push for those that stalled."""

from __future__ import annotations

from dataclasses import asdict

import click

from feedsvc.api.schemas import FanoutAnswer
from feedsvc.cli.output import AccountId, json_option, opened, show
from feedsvc.fanout import status as fanout_status
from feedsvc.fanout import sweep as sweeping
from feedsvc.posts import idempotency


@click.group()
def fanout() -> None:
    """Fan-outs."""


@fanout.command()
@click.argument("post_id", type=AccountId())
@json_option
def status(post_id: int, as_json: bool) -> None:
    """How far the fan-out of a post is."""
    with opened() as services:
        show(FanoutAnswer().dump(fanout_status.status(services.stores, post_id)), as_json)


@fanout.command()
@json_option
def sweep(as_json: bool) -> None:
    """Apply what a crash left owing, re-drive what stalled."""
    with opened() as services:
        swept = sweeping.sweep(services.stores, services.enqueue)
        idempotency.remove_expired(services.stores)
        show(asdict(swept), as_json)
