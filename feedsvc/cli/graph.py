"""`graph`: import, generate and describe the follow graph."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from feedsvc.cli.output import json_option, opened, show
from feedsvc.graph import generate as generating
from feedsvc.graph.importer import GraphUnreadable, ImportReport, import_graph
from feedsvc.graph.stats import GraphStats, graph_stats


@click.group()
def graph() -> None:
    """Import, generate and describe the follow graph."""


@graph.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="stop: import nothing if a line is malformed; skip: leave malformed lines out.",
)
@json_option
def import_command(file: Path, on_error: str, as_json: bool) -> None:
    """Import a follow graph from a file.

    Each line is `follower followee`, with blanks or tabs between. Lines that begin with # or % are
    comments. The file may be gzipped (.gz). Repeated lines are counted and change nothing.
    """
    try:
        size = file.stat().st_size
    except OSError as error:
        raise GraphUnreadable(file, error) from None
    with (
        opened() as services,
        tqdm(
            total=size, unit="B", unit_scale=True, desc="import", disable=None, leave=False
        ) as bar,
    ):
        report = import_graph(
            services.stores,
            file,
            skip_malformed=on_error == "skip",
            progress=lambda position: bar.update(position - bar.n),
        )
    show(asdict(report), as_json, lambda: _import_lines(report))


@graph.command()
@click.option(
    "--accounts", required=True, type=click.IntRange(2, 10**8), help="Accounts to create."
)
@click.option(
    "--seed", default=1, show_default=True, type=int, help="The same seed makes the same graph."
)
@json_option
def generate(accounts: int, seed: int, as_json: bool) -> None:
    """Generate a synthetic graph with a realistic follower tail."""
    with (
        opened() as services,
        tqdm(total=accounts, unit=" accounts", desc="generate", disable=None, leave=False) as bar,
    ):
        loaded = generating.load(
            services.stores, accounts, seed, lambda done: bar.update(done - bar.n)
        )
    show(asdict(loaded), as_json)


@graph.command()
@json_option
def stats(as_json: bool) -> None:
    """Show the distribution of followers."""
    with opened() as services:
        found = graph_stats(services.stores)
    show(asdict(found), as_json, lambda: _stats_lines(found))


def _import_lines(report: ImportReport) -> list[str]:
    lines = [
        f"{report.lines:,} lines, {report.edges:,} edges in {report.seconds:.1f} s",
        f"created {report.accounts_created:,} accounts and {report.follows_created:,} follows",
        f"{report.repeats:,} repeats",
    ]
    if report.refused:
        lines.append(
            f"{report.refused:,} edges left out: one account blocks the other or is being deleted"
        )
    if report.malformed:
        lines.append(
            f"{report.malformed:,} malformed lines skipped: {'; '.join(report.malformed_lines)}"
        )
    return lines


def _stats_lines(found: GraphStats) -> list[str]:
    percentiles = ", ".join(f"{name} {value:,}" for name, value in found.percentiles.items())
    lines = [
        f"{found.accounts:,} accounts, {found.follows:,} follows, mean {found.mean}",
        f"followers: {percentiles}, largest {found.largest:,}",
        f"accounts with more than 20 followers: {found.above_20:,}",
        f"accounts with promote_at ({found.promote_at:,}) followers or more: {found.pulled:,}",
    ]
    widest = max(found.by_decade.values(), default=1) or 1
    return lines + [
        f"{lowest:>12,}+  {count:>12,}  {'#' * round(40 * count / widest)}"
        for lowest, count in found.by_decade.items()
    ]
