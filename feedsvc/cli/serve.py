"""`up` runs the whole service. `web`, `worker` and `beat` run one part of it each."""

from __future__ import annotations

import sys

import click

from feedsvc.settings import load_settings
from feedsvc.supervise.parts import run_beat, run_web, run_worker
from feedsvc.supervise.up import Plan, run_up

_host = click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to listen on."
)
_port = click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port; 0 takes a free one.",
)


@click.command()
@_host
@_port
@click.option(
    "--web-workers",
    default=2,
    show_default=True,
    type=click.IntRange(0, 64),
    help="Web processes; 0 runs none.",
)
@click.option(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(0, 64),
    help="Fan-out workers; 0 runs none.",
)
@click.option(
    "--demo", is_flag=True, help="Load a demo graph, post into it, and print what to try."
)
def up(host: str, port: int, web_workers: int, workers: int, demo: bool) -> None:
    """Run the whole service. Stores that no setting names are embedded."""
    if web_workers == 0 and (demo or workers == 0):
        raise click.BadParameter(
            "--demo needs a web process" if demo else "0 leaves nothing to run with --workers 0",
            param_hint="--web-workers",
        )
    sys.exit(run_up(load_settings(for_tokens=True), Plan(host, port, web_workers, workers, demo)))


@click.command()
@_host
@_port
@click.option(
    "--processes", default=2, show_default=True, type=click.IntRange(1, 64), help="Web processes."
)
def web(host: str, port: int, processes: int) -> None:
    """Run the web server alone, until a signal."""
    sys.exit(run_web(host, port, processes))


@click.command()
@click.option("--name", help="The worker's name before @host; by default it has the process id.")
@click.option(
    "--concurrency",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes that run tasks.",
)
def worker(name: str | None, concurrency: int) -> None:
    """Run a worker alone, until a signal. It takes every queue."""
    sys.exit(run_worker(name, concurrency))


@click.command()
def beat() -> None:
    """Run beat alone, until a signal. It schedules the sweep. Two beats at once are harmless."""
    run_beat()
