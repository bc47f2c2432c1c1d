"""The service that is measured: a database, servers and processes of its own.

Its processes start as `feedsvc up` starts them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt

from benchmarks.server import free_port, started
from feedsvc.embedded.valkey import die_with_parent
from feedsvc.services import open_services
from feedsvc.settings import PREFIX, load_settings
from feedsvc.store.sql import migrate
from feedsvc.store.sql.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.server import Server
    from feedsvc.services import Services
    from feedsvc.store import Stores

WORKERS = 2
WEB_WORKERS = 2
_ROOT = Path(__file__).parents[1]
_SECRET = "only-for-benchmarks-" * 2
_TOKEN_SECONDS = 86_400
_DEADLINE_SECONDS = 600
# Every post is pushed, unless a measurement sets another threshold.
_ALL_PUSHED = {"promote_at": 10**9, "demote_at": 10**9}


@dataclass(frozen=True)
class Bench:
    """One service under measurement; `named` holds its settings.

    The broker is a second server, so that its processor time is measured separately.
    """

    services: Services
    server: Server
    broker: Server
    named: dict[str, Any]

    @property
    def stores(self) -> Stores:
        """Return this process's stores."""
        return self.services.stores

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment for the service's processes."""
        return {
            **os.environ,
            **{PREFIX + name.upper(): str(value) for name, value in self.named.items()},
        }

    def processes(self, workers: Pool) -> dict[str, list[int]]:
        """Return the process ids that a fan-out uses, by part, for a `Meter`."""
        return {
            "workers": workers.pids,
            "server": [self.server.pid],
            "broker": [self.broker.pid],
        }


@contextmanager
def opened(
    *, embedded: bool = False, database_url: str | None = None, **settings: Any
) -> Iterator[Bench]:
    """Open an empty service on servers of its own; remove all of it at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="fsb") as folder,
        started(embedded=embedded) as server,
        started() as broker,
    ):
        url = database_url or f"sqlite:///{folder}/f.db"
        named = {
            "data_dir": folder,
            "database_url": url,
            "redis_url": server.url,
            "broker_url": broker.broker_url,
            "jwt_secret": _SECRET,
        }
        _migrate(url)
        with _served(server, broker, named | _ALL_PUSHED | settings) as bench:
            yield bench


@contextmanager
def reopened(bench: Bench, **settings: Any) -> Iterator[Bench]:
    """Open the same servers, with their data, under other settings.

    A database that the settings name must be migrated already.
    """
    with _served(bench.server, bench.broker, bench.named | settings) as again:
        yield again


@contextmanager
def _served(server: Server, broker: Server, named: dict[str, Any]) -> Iterator[Bench]:
    services = open_services(load_settings({}, **named))
    try:
        yield Bench(services, server, broker, named)
    finally:
        services.close()


def _migrate(url: str) -> None:
    database = Database(url)
    migrate.upgrade(database)
    database.close()


class Pool:
    """Running processes that are paused, resumed and killed together."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """Take over running processes."""
        self._processes = processes
        self.pids = [process.pid for process in processes]

    @property
    def lives(self) -> bool:
        """Return whether all processes still exist, running or paused."""
        return all(process.poll() is None for process in self._processes)

    def pause(self) -> None:
        """Stop the processes until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the processes go on."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill the processes and wait for their end."""
        self._signal(signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def _signal(self, number: int) -> None:
        for process in self._processes:
            process.send_signal(number)


@contextmanager
def workers(
    bench: Bench, count: int = WORKERS, *, idle: bool = True, beat: bool = True
) -> Iterator[Pool]:
    """Run Celery workers and, unless the caller sweeps itself, beat, which starts the sweeps.

    `idle`: no task is queued yet. The block then begins when every worker waits for a task.
    """
    roles = [["worker", "--name", f"bench-{number}"] for number in range(count)]
    roles += [["beat"]] if beat else []
    with running(bench, [["feedsvc", *role] for role in roles]) as pool:
        until(lambda: not idle or _waiting(bench) >= count or not pool.lives)
        yield pool


@contextmanager
def web(
    bench: Bench, count: int = WEB_WORKERS, module: str = "feedsvc.supervise.web"
) -> Iterator[tuple[int, Pool]]:
    """Run the web server; give its port on 127.0.0.1 and its processes."""
    port = free_port()
    with running(bench, [[module, "127.0.0.1", str(port), str(count)]]) as pool:
        until(lambda: _takes_connections(port))
        yield port, pool


@contextmanager
def running(bench: Bench, modules: list[list[str]]) -> Iterator[Pool]:
    """Run each module with its arguments as a process with the service's settings."""
    pool = Pool([_start([sys.executable, "-m", *module], bench.environment) for module in modules])
    try:
        yield pool
        assert pool.lives, f"one of {modules} ended by itself; start it by hand to see its error"
    finally:
        pool.end()


def token(account: int) -> str:
    """Return a bearer token of the account."""
    return jwt.encode(
        {"sub": str(account), "scope": "feed", "exp": int(time.time()) + _TOKEN_SECONDS},
        _SECRET,
        "HS256",
    )


def until(condition: Callable[[], Any], every_seconds: float = 0.02) -> Any:
    """Wait until the condition is true and return its value; fail after ten minutes."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"still false after {_DEADLINE_SECONDS} s: {condition}"
        time.sleep(every_seconds)
    return answer


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,  # noqa: PLW1509
    )


def _waiting(bench: Bench) -> int:
    """Count the workers that wait for a task."""
    return sum(
        client["cmd"] == "brpop" and client["db"] == "0"
        for client in bench.broker.client.client_list()
    )


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
