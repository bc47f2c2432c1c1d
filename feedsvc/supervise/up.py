"""The supervisor: start the parts in order, report readiness, restart dead parts, stop in order."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from feedsvc.embedded import datadir, valkey
from feedsvc.errors import FeedsvcError, StoreUnavailable
from feedsvc.fanout import broker
from feedsvc.front.listening import free_port
from feedsvc.services import addresses, open_services, signing_secret
from feedsvc.settings import PREFIX, load_settings
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database
from feedsvc.supervise.children import UP_PID, Child
from feedsvc.supervise.demo import load_demo

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.services import Services
    from feedsvc.settings import Settings

_READY_SECONDS = 60.0
_DRAIN_SECONDS = 20.0
_TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Plan:
    """The options of `up`: where to listen, how many processes to run, whether to load the demo."""

    host: str
    port: int
    web_workers: int
    workers: int
    demo: bool


class NotReady(FeedsvcError):
    """The service did not start in time."""

    def __init__(self, logs: Path) -> None:
        super().__init__(
            f"the service did not answer within {_READY_SECONDS:.0f} s; read its logs in {logs}"
        )


def run_up(settings: Settings, plan: Plan) -> int:
    """Run the service until SIGTERM or Ctrl-C, and return the exit code.

    Raises `FeedsvcError` if the service cannot start.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)  # it raises KeyboardInterrupt
    children: list[Child] = []
    try:
        folder = _folder(settings)
        with datadir.lock_for_up(folder):
            _serve(settings, plan, folder, children)
    except KeyboardInterrupt:
        with suppress(OSError):  # stderr may be a closed pipe
            click.echo("stopping: every process finishes its work", err=True)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _stop_all(children)
    return 0


def _folder(settings: Settings) -> Path:
    """Return the data folder.

    If the folder cannot be used, and no embedded part needs it, return a temporary folder for the
    logs.
    """
    try:
        return datadir.prepare(settings.data_dir)
    except datadir.DataDirUnusable:
        if settings.database_url is None or settings.redis_url is None:
            raise
    folder = Path(tempfile.mkdtemp(prefix="feedsvc-"))
    click.echo(f"logs: {folder / 'logs'}", err=True)
    return folder


def _serve(settings: Settings, plan: Plan, folder: Path, children: list[Child]) -> None:
    port = free_port(plan.host, plan.port)
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    environment = _start_stores(settings, folder, logs, children)
    with closing(open_services(load_settings(environment))) as services:
        broker.require(services.celery)
        for name, arguments in _processes(plan, port):
            command = [sys.executable, "-m", "feedsvc", *arguments]
            children.append(Child(name, command, environment, logs / f"{name}.log"))
        url = f"http://{f'[{plan.host}]' if ':' in plan.host else plan.host}:{port}"
        if plan.web_workers:
            _wait_until(lambda: _is_alive(url), children, logs)
            click.echo(f"ready: {url}")
        else:
            _wait_until(lambda: _workers(services) >= plan.workers, children, logs)
            click.echo("ready: workers")
        if plan.demo:
            click.echo("\n".join(load_demo(services, url)))
    while True:
        _restart_dead(children)


def _start_stores(
    settings: Settings, folder: Path, logs: Path, children: list[Child]
) -> dict[str, str]:
    """Start and migrate the embedded stores, and return the environment of the other children.

    The environment names the URL of every store, so no child starts a server of its own.
    """
    server = None
    if settings.redis_url is None:
        children.append(Child("valkey", valkey.command(folder), os.environ, logs / "valkey.log"))
        server = valkey.EmbeddedValkey(valkey.socket_path(folder), None)
        _wait_until(lambda: valkey.answers(server.socket), children, logs)
    at = addresses(settings, folder, server)
    if settings.database_url is None:
        with closing(Database(at.database, settings)) as database:
            migrate.upgrade(database)
    secret = signing_secret(settings)
    metrics = folder / "metrics"
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir()
    return {
        **os.environ,
        f"{PREFIX}DATA_DIR": str(folder),
        f"{PREFIX}DATABASE_URL": at.database,
        f"{PREFIX}REDIS_URL": at.redis,
        f"{PREFIX}BROKER_URL": at.broker,
        **({} if secret is None else {f"{PREFIX}JWT_SECRET": secret}),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "PYTHONUNBUFFERED": "1",
        UP_PID: str(os.getpid()),
    }


def _processes(plan: Plan, port: int) -> list[tuple[str, list[str]]]:
    """Return the name of each child process, and its arguments: a command like `web`."""
    processes = []
    if plan.web_workers:
        count = str(plan.web_workers)
        web = ["web", "--host", plan.host, "--port", str(port), "--processes", count]
        processes.append(("web", web))
    names = [f"worker-{number}" for number in range(1, plan.workers + 1)]
    processes += [(name, ["worker", "--name", name]) for name in names]
    if names:
        processes.append(("beat", ["beat"]))
    return processes


def _workers(services: Services) -> int:
    """Return how many workers answer. An unreachable broker counts as none."""
    try:
        with broker.errors_named():
            return len(services.celery.control.ping(timeout=1) or [])
    except StoreUnavailable:
        return 0


def _is_alive(url: str) -> bool:
    # The URL is local, so a proxy that the environment names cannot reach it.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/healthz", timeout=2) as answer:
            return bool(json.load(answer)["status"] == "ok")
    except (OSError, ValueError):
        return False


def _wait_until(condition: Callable[[], bool], children: list[Child], logs: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise NotReady(logs)
        _restart_dead(children)


def _restart_dead(children: list[Child]) -> None:
    """Restart the children that have ended, then pause for one tick."""
    for child in children:
        child.restart_if_dead()
    time.sleep(_TICK_SECONDS)


def _stop_all(children: list[Child]) -> None:
    """Stop the web server and the workers after their current work, then the store they use."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    users = [child for child in children if child.name != "valkey"]
    for child in users:
        child.process.terminate()
    for child in users:
        valkey.wait_or_kill(child.process, deadline - time.monotonic())
    for child in children:
        child.process.terminate()
        valkey.wait_or_kill(child.process, 2)
