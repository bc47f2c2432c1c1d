"""The supervisor: starts the parts in order, says when the service is ready, keeps them running, and stops them in order."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from feedsvc.embedded import datadir, valkey
from feedsvc.errors import FeedsvcError
from feedsvc.services import Addresses, addresses, open_services
from feedsvc.settings import PREFIX, load_settings
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database
from feedsvc.supervise.children import Child
from feedsvc.supervise.demo import load_demo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from feedsvc.settings import Settings

_READY_SECONDS = 60.0
_DRAIN_SECONDS = 20.0
_TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Plan:
    """What to run."""

    host: str
    port: int
    web_workers: int
    workers: int
    demo: bool


class PortTaken(FeedsvcError):
    """Somebody else listens there."""

    def __init__(self, host: str, port: int, why: OSError) -> None:
        super().__init__(
            f"cannot listen on {host}:{port} ({why.strerror}); give another --port, or --port 0 for a free one"
        )


class NotReady(FeedsvcError):
    """The service did not come up."""

    def __init__(self, logs: Path) -> None:
        super().__init__(
            f"the service did not answer within {_READY_SECONDS:.0f} s; its logs are in {logs}"
        )


class _Stop(Exception):
    """SIGTERM or Ctrl-C."""


def run_up(settings: Settings, plan: Plan) -> int:
    """Run the service until SIGTERM or Ctrl-C; returns the exit code. Raises `FeedsvcError` if it cannot start."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    children: list[Child] = []
    try:
        _run(settings, plan, children)
    except _Stop:
        with suppress(OSError):  # nobody may be listening any more
            click.echo("stopping: every process finishes what it does", err=True)
        return 0
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _stop_all(children)
    return 0


def _run(settings: Settings, plan: Plan, children: list[Child]) -> None:
    folder = datadir.prepare(settings.data_dir)
    with datadir.hold_for_up(folder):
        _serve(settings, plan, folder, children)


def _serve(settings: Settings, plan: Plan, folder: Path, children: list[Child]) -> None:
    port = _free_port(plan.host, plan.port)
    _start_all(settings, plan, port, folder, children)
    url = f"http://{f'[{plan.host}]' if ':' in plan.host else plan.host}:{port}"
    _await_ready(url, children, folder)
    click.echo(f"ready: {url}")
    sys.stdout.flush()
    if plan.demo:
        _demo(children[-1].environment, url)
    while True:
        for child in children:
            child.revive()
        time.sleep(_TICK_SECONDS)


def _start_all(
    settings: Settings, plan: Plan, port: int, folder: Path, children: list[Child]
) -> None:
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    server = None
    if settings.redis_url is None:
        children.append(Child("valkey", valkey.command(folder), os.environ, logs / "valkey.log"))
        children[0].start()
        server = valkey.EmbeddedValkey(valkey.socket_path(folder), None)
        _until(lambda: valkey.answers(server.socket), children, logs)
    at = addresses(settings, folder, server)
    if settings.database_url is None:
        database = Database(at.database)
        migrate.upgrade(database)
        database.close()
    environment = _environment(folder, at)
    for name, module in _processes(plan, port):
        child = Child(name, [sys.executable, "-m", *module], environment, logs / f"{name}.log")
        children.append(child)
        child.start()


def _processes(plan: Plan, port: int) -> list[tuple[str, list[str]]]:
    web = ["feedsvc.supervise.web", plan.host, str(port), str(plan.web_workers)]
    workers = [
        (f"worker-{number}", ["feedsvc.supervise.work", "worker", f"worker-{number}"])
        for number in range(1, plan.workers + 1)
    ]
    beat = [("beat", ["feedsvc.supervise.work", "beat"])] if plan.workers else []
    return [("web", web), *workers, *beat]


def _environment(folder: Path, at: Addresses) -> dict[str, str]:
    """The children's: with every address named, none of them starts a server of its own."""
    counts = folder / "metrics"
    shutil.rmtree(counts, ignore_errors=True)
    counts.mkdir()
    named = {
        "data_dir": str(folder),
        "database_url": at.database,
        "redis_url": at.redis,
        "broker_url": at.broker,
    }
    return {
        **os.environ,
        **{PREFIX + name.upper(): value for name, value in named.items()},
        "PROMETHEUS_MULTIPROC_DIR": str(counts),
        "PYTHONUNBUFFERED": "1",
    }


def _free_port(host: str, port: int) -> int:
    """The port, if it is free; a free one for 0. Raises `PortTaken`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            raise PortTaken(host, port, error) from None
        free: int = probe.getsockname()[1]
        return free


def _await_ready(url: str, children: list[Child], folder: Path) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:  # noqa: S310 -- our own address
                return bool(json.load(answer)["status"] == "ok")
        except (OSError, ValueError):
            return False

    _until(answers, children, folder / "logs")


def _until(condition: Callable[[], bool], children: list[Child], logs: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise NotReady(logs)
        for child in children:
            child.revive()
        time.sleep(_TICK_SECONDS)


def _demo(environment: Mapping[str, str], url: str) -> None:
    services = open_services(load_settings(environment))
    try:
        for line in load_demo(services, url):
            click.echo(line)
    finally:
        services.close()


def _stop(_number: int, _frame: object) -> None:
    raise _Stop


def _stop_all(children: list[Child]) -> None:
    """Web first, then the workers, each finishing what it does; the store that they use last."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    users = [child for child in children if child.name != "valkey"]
    for child in users:
        child.ask_to_stop()
    for child in users:
        child.await_end(deadline - time.monotonic())
    for child in children:
        child.ask_to_stop()
        child.await_end(2)
