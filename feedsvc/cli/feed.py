"""`feed`: looking after stored feeds."""

from __future__ import annotations

import sys

import click
from tqdm import tqdm

from feedsvc.cli.output import AccountId, json_option, opened, show
from feedsvc.feed import audit as auditing


@click.group()
def feed() -> None:
    """Home feeds."""


@feed.command()
@click.argument("account", type=AccountId())
@json_option
def rebuild(account: int, as_json: bool) -> None:
    """Throw the stored feed of an account away and read it from the database again."""
    with opened() as services:
        made = auditing.rebuild(services.stores, account)
    show({"account": str(account), "posts": len(made.ids), "floor": str(made.floor)}, as_json)


@feed.command()
@click.option("--sample", type=click.IntRange(1), help="How many accounts to draw; all, if left out.")
@json_option
def audit(sample: int | None, as_json: bool) -> None:
    """Compare stored feeds with the database; exit code 1 on any difference."""
    with opened() as services, tqdm(unit=" accounts", disable=None, leave=False) as bar:
        found = auditing.audit(services.stores, sample, bar.update)
    missing = [{"account": str(miss.viewer), "post_id": str(miss.post_id)} for miss in found.missing]
    answer = {"accounts": found.accounts, "stored_feeds": found.stored, "differences": len(missing), "missing": missing}
    summary = f"{found.accounts} accounts, {found.stored} stored feeds, {len(missing)} differences"
    show(answer, as_json, lambda: [summary, *(f"account {miss['account']} lacks post {miss['post_id']}" for miss in missing)])
    if missing:
        sys.exit(1)
