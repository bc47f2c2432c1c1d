"""The service that is measured: its own database, server and broker, and its processes as `up` starts them."""

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

from benchmarks.server import started
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
# Nothing is pulled, unless a measurement says so.
_ALL_PUSHED = {"promote_at": 10**9, "demote_at": 10**9}


@dataclass(frozen=True)
class Bench:
    """One service under measurement. The broker is a server of its own, so that its processor time is seen apart."""

    services: Services
    server: Server
    broker: Server
    named: dict[str, Any]

    @property
    def stores(self) -> Stores:
        """Its stores, as this process has them."""
        return self.services.stores

    @property
    def environment(self) -> dict[str, str]:
        """What its processes are started with."""
        return {
            **os.environ,
            **{PREFIX + name.upper(): str(value) for name, value in self.named.items()},
        }


@contextmanager
def opened(
    *, embedded: bool = False, database_url: str | None = None, **settings: Any
) -> Iterator[Bench]:
    """A service without data, on servers of its own; nothing of it is left afterwards."""
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
    """The same servers, with what they hold, under other settings; a database that these name is migrated already."""
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
    """Processes that are started, held, and ended together."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """They run."""
        self._processes = processes
        self.pids = [process.pid for process in processes]

    @property
    def lives(self) -> bool:
        """Whether all of them run, or stand still."""
        return all(process.poll() is None for process in self._processes)

    def pause(self) -> None:
        """They stand still until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """They go on."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """They are gone."""
        self._signal(signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def _signal(self, number: int) -> None:
        for process in self._processes:
            process.send_signal(number)


@contextmanager
def workers(bench: Bench, count: int = WORKERS, *, idle: bool = True) -> Iterator[Pool]:
    """Celery workers and the clock of the sweep, as `up` runs them; ready when this begins, unless there is work for them already."""
    roles = [["worker", f"bench-{number}"] for number in range(count)] + [["beat"]]
    with running(bench, [["feedsvc.supervise.celery_process", *role] for role in roles]) as pool:
        until(lambda: not idle or _waiting(bench) >= count or not pool.lives)
        yield pool


@contextmanager
def web(
    bench: Bench, count: int = WEB_WORKERS, module: str = "feedsvc.supervise.web"
) -> Iterator[tuple[int, Pool]]:
    """The web server, as `up` runs it: its port on 127.0.0.1, and its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running(bench, [[module, "127.0.0.1", str(port), str(count)]]) as pool:
        until(lambda: _takes_connections(port))
        yield port, pool


@contextmanager
def running(bench: Bench, modules: list[list[str]]) -> Iterator[Pool]:
    """These modules with their arguments, each a process, with the service's settings."""
    pool = Pool([_start([sys.executable, "-m", *module], bench.environment) for module in modules])
    try:
        yield pool
        assert pool.lives, f"one of {modules} has ended by itself"
    finally:
        pool.end()


def token(account: int) -> str:
    """A bearer token of the account."""
    return jwt.encode(
        {"sub": str(account), "scope": "feed", "exp": int(time.time()) + _TOKEN_SECONDS},
        _SECRET,
        "HS256",
    )


def until(condition: Callable[[], Any], every_seconds: float = 0.02) -> Any:
    """What the condition returns as soon as that is true. A measurement that stands still for ten minutes has failed."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {_DEADLINE_SECONDS} s: {condition}"
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
    """How many workers wait for a message."""
    return sum(
        client["cmd"] == "brpop" and client["db"] == "0"
        for client in bench.broker.client.client_list()
    )


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
