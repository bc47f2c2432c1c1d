"""`feed`: rebuild, audit and explain stored feeds. `fanout`: show and continue fan-outs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from feedsvc import tasks
from feedsvc.api.schemas import ExplanationAnswer, FanoutAnswer
from feedsvc.cli.output import IdParameter, json_option, opened, show
from feedsvc.fanout import status as fanout_status
from feedsvc.formats import counted
from feedsvc.inspection import audit as auditing
from feedsvc.inspection import explain as explaining

if TYPE_CHECKING:
    from feedsvc.inspection.audit import Audit, Difference


@click.group()
def fanout() -> None:
    """Show and continue fan-outs."""


@fanout.command()
@click.argument("post_id", type=IdParameter())
@json_option
def status(post_id: int, as_json: bool) -> None:
    """Show the progress of a post's fan-out."""
    with opened() as services:
        show(FanoutAnswer().dump(fanout_status.status(services.stores, post_id)), as_json)


@fanout.command()
@json_option
def sweep(as_json: bool) -> None:
    """Apply pending changes and continue stalled fan-outs."""
    with opened() as services:
        show(asdict(tasks.sweep(services.stores, services.enqueue)), as_json)


@click.group()
def feed() -> None:
    """Rebuild, audit and explain home feeds."""


@feed.command()
@click.argument("account", type=IdParameter())
@json_option
def rebuild(account: int, as_json: bool) -> None:
    """Build the stored feed of an account again."""
    with opened() as services:
        built = auditing.rebuild(services.stores, account)
    answer = {"account": str(account), "posts": len(built.ids), "floor": str(built.floor)}
    line = (
        f"account {account}: the stored feed has {counted(len(built.ids), 'pushed post')}; "
        "reads add pulled and older posts"
    )
    show(answer, as_json, lambda: [line])


@feed.command()
@click.option("--sample", type=click.IntRange(1), help="Random accounts to draw.  [default: all]")
@json_option
def audit(sample: int | None, as_json: bool) -> None:
    """Compare stored feeds with the database.

    Repairs the feeds that differ, and exits with 1 if there were any.
    """
    with opened() as services, tqdm(unit=" accounts", disable=None, leave=False) as bar:
        found = auditing.audit(services.stores, sample, bar.update)
    show(_audit_answer(found), as_json, lambda: _audit_lines(found))
    if found.differences:
        sys.exit(1)


@feed.command()
@click.argument("viewer", type=IdParameter())
@click.argument("post_id", type=IdParameter(), metavar="POST")
@json_option
def explain(viewer: int, post_id: int, as_json: bool) -> None:
    """Say whether a post is in an account's feed, and why."""
    with opened() as services:
        answer = ExplanationAnswer().dump(explaining.explain(services.stores, viewer, post_id))
    if not as_json:
        click.echo(answer.pop("why"))
    show(answer, as_json)


def _audit_answer(found: Audit) -> dict[str, object]:
    return {
        "accounts": found.accounts,
        "stored_feeds": found.stored,
        "differences": len(found.differences),
        "missing": [_difference_answer(difference) for difference in found.missing],
        "extra": [_difference_answer(difference) for difference in found.extra],
        "twice": found.twice,
        "repaired": [str(account) for account in found.repaired],
    }


def _difference_answer(difference: Difference) -> dict[str, object]:
    author = difference.author_id
    return {
        "account": str(difference.viewer),
        "post_id": str(difference.post_id),
        "kind": difference.kind,
        "author_id": None if author is None else str(author),
        "route": difference.route,
        "policy_version": difference.policy_version,
        "state": difference.state,
        "batch": difference.batch,
    }


def _audit_lines(found: Audit) -> list[str]:
    counts = (
        counted(found.accounts, "account"),
        counted(found.stored, "stored feed"),
        counted(len(found.differences), "difference"),
    )
    lines = [", ".join(counts)]
    if found.twice:
        lines.append(f"{counted(found.twice, 'id is', 'ids are')} stored more than once")
    lines += map(_difference_line, found.differences)
    return lines + [
        f"account {account}: repaired; its next read builds the feed again"
        for account in found.repaired
    ]


def _difference_line(difference: Difference) -> str:
    verb = "lacks" if difference.kind == "missing" else "wrongly shows"
    facts = {
        "author": difference.author_id,
        "route": difference.route,
        "policy version": difference.policy_version,
        "fan-out": difference.state,
        "batch": difference.batch,
    }
    details = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
    return (
        f"account {difference.viewer} {verb} post {difference.post_id} "
        f"({details or 'unknown to the database'})"
    )
