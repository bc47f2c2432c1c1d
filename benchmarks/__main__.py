"""`python -m benchmarks`: every measurement, as a table or as JSON."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import click
import structlog

from benchmarks.fanout import fan_out, higgs
from benchmarks.server import measured_server

_GRAPH = Path(os.environ.get("FEEDSVC_HIGGS_GRAPH", "../shared/data/higgs-retweets.txt.gz"))


@click.command()
@click.option("--followers", default=100_000, show_default=True, help="Full feeds to deliver to.")
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(followers: int, rounds: int, as_json: bool) -> None:
    """Measure fan-out to full feeds beside the server's limit, and the Higgs scenario."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with measured_server() as server:
        result = {"machine": _machine(), "commit": _commit(), "fan_out": fan_out(server, followers, rounds)}
        if _GRAPH.exists():
            result["higgs"] = higgs(server, _GRAPH)
    click.echo(json.dumps(result, indent=2) if as_json else "\n".join(_lines(result)))


def _lines(result: dict[str, Any]) -> list[str]:
    found = result["fan_out"]
    lines = [
        f"{result['machine']}, commit {result['commit']}, {found['server']}",
        f"fan-out through Celery to {found['followers']:,} full feeds of {found['cap']}, {found['rounds']} interleaved rounds",
        _row("deliveries/s", found["deliveries_per_second"], ",.0f"),
        _row("limit, pushes/s", found["limit"], ",.0f"),
        _row("ratio", found["ratio"], ".2f"),
    ]
    if "higgs" in result:
        real = result["higgs"]
        lines += [
            f"Higgs: {real['followers']:,} followers, {real['links']} links, import {real['import_seconds']:.1f} s",
            _row("seconds to last follower", real["seconds_to_last_follower"], ".3f"),
            _row("deliveries/s", real["deliveries_per_second"], ",.0f"),
        ]
    return lines


def _row(name: str, values: dict[str, float], how: str) -> str:
    return f"  {name:<26}{values['median']:>14{how}}   ({values['min']:{how}} to {values['max']:{how}})"


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def _commit() -> str:
    answer = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


main()
