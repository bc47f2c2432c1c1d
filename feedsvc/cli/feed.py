"""`feed`: looking after stored feeds, and into them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from feedsvc.api.schemas import ExplanationAnswer
from feedsvc.cli.output import AccountId, json_option, opened, show
from feedsvc.inspection import audit as auditing
from feedsvc.inspection import explain as explaining

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feedsvc.inspection.audit import Audit, Difference


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
    answer = {"account": str(account), "posts": len(made.ids), "floor": str(made.floor)}
    show(
        answer,
        as_json,
        lambda: [
            f"account {account}: {len(made.ids)} posts stored that were pushed; reads add what is pulled, or older"
        ],
    )


@feed.command()
@click.option(
    "--sample", type=click.IntRange(1), help="How many accounts to draw; all, if left out."
)
@json_option
def audit(sample: int | None, as_json: bool) -> None:
    """Compare stored feeds with the database and repair them; exit code 1 on any difference."""
    with opened() as services, tqdm(unit=" accounts", disable=None, leave=False) as bar:
        found = auditing.audit(services.stores, sample, bar.update)
    show(_answer(found), as_json, lambda: _lines(found))
    if found.differences:
        sys.exit(1)


@feed.command()
@click.argument("viewer", type=AccountId())
@click.argument("post_id", type=AccountId(), metavar="POST")
@json_option
def explain(viewer: int, post_id: int, as_json: bool) -> None:
    """Say whether a post is in an account's feed, and why or why not."""
    with opened() as services:
        answer = ExplanationAnswer().dump(explaining.explain(services.stores, viewer, post_id))
    if not as_json:
        click.echo(answer.pop("why"))
    show(answer if as_json else dict(_flat(answer)), as_json)


def _flat(answer: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The facts under plain names, those of a part under the part's."""
    for name, value in answer.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{name} ")
        else:
            yield prefix + name, _spelled(value)


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return "-" if value is None else str(value)


def _answer(found: Audit) -> dict[str, object]:
    return {
        "accounts": found.accounts,
        "stored_feeds": found.stored,
        "differences": len(found.differences),
        "missing": [_as_json(each) for each in found.missing],
        "extra": [_as_json(each) for each in found.extra],
        "twice": found.twice,
        "repaired": [str(account) for account in found.repaired],
    }


def _as_json(each: Difference) -> dict[str, object]:
    said = asdict(each)
    author = None if each.author_id is None else str(each.author_id)
    return {
        "account": str(said.pop("viewer")),
        **said,
        "post_id": str(each.post_id),
        "author_id": author,
    }


def _lines(found: Audit) -> list[str]:
    lines = [
        f"{found.accounts} accounts, {found.stored} stored feeds, {len(found.differences)} differences"
    ]
    if found.twice:
        lines.append(f"{found.twice} ids held more than once")
    lines += map(_line, found.differences)
    return lines + [
        f"account {account}: repaired, its next read makes the feed again"
        for account in found.repaired
    ]


def _line(each: Difference) -> str:
    verb = "lacks" if each.kind == "missing" else "wrongly shows"
    known = {
        "author": each.author_id,
        "route": each.route,
        "policy version": each.policy_version,
        "fan-out": each.state,
        "batch": each.batch,
    }
    said = [f"{name} {value}" for name, value in known.items() if value is not None]
    return f"account {each.viewer} {verb} post {each.post_id} ({', '.join(said) or 'unknown to the database'})"
