"""Run the web server: one process that watches, and processes that serve.

`python -m feedsvc.supervise.web HOST PORT PROCESSES`. Each process has sockets of its own on the
same port, and listens when it can serve. One that dies is started again. Its new connections wait
for it meanwhile.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import chain
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import click
import structlog

from feedsvc import logs
from feedsvc.embedded.valkey import die_with_parent, wait_or_kill
from feedsvc.errors import FeedsvcError
from feedsvc.front.listening import bind_for_each
from feedsvc.supervise.children import end_with_parent

if TYPE_CHECKING:
    import socket

_log = structlog.get_logger()

# The exit code of a process that cannot make its application.
NOT_STARTED = 3

APP = "feedsvc.supervise.web_process:make_app"
_RESTART_SECONDS = 1.0
_TICK_SECONDS = 0.1
# A process drains for at most 15 s.
_DRAIN_SECONDS = 17.0


def serve(host: str, port: int, processes: int, factory: str = APP) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit code.

    `factory` names a function, `module:function`, that makes the application of a process. Returns
    1 if no process can make it; their stderr says why. Raises `FeedsvcError` if the
    host or the port cannot be used.
    """
    # A signal may interrupt the wait at any point. `Event` may then deadlock, `SimpleQueue` cannot.
    stop_requests: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stop_requests.put(number))
    listeners = bind_for_each(processes, host, port)
    children = [_Process(factory, own) for own in listeners]
    code = 0
    while not _comes_within(_TICK_SECONDS, stop_requests):
        ended = [child for child in children if child.has_ended()]
        if [child.running.returncode for child in ended] == [NOT_STARTED] * processes:
            code = 1
            break
        for child in ended:
            child.restart()
    for listener in chain.from_iterable(listeners):
        listener.close()
    _stop_all(children)
    return code


def _comes_within(seconds: float, requests: SimpleQueue[int]) -> bool:
    try:
        requests.get(timeout=seconds)
    except Empty:
        return False
    return True


class _Process:
    """A web process."""

    def __init__(self, factory: str, listeners: list[socket.socket]) -> None:
        """Start it."""
        self._inherited = [listener.fileno() for listener in listeners]
        self._command = [sys.executable, "-m", "feedsvc.supervise.web_process", factory]
        self._command += map(str, (os.getpid(), *self._inherited))
        self._start()

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return self.running.poll() is not None

    def restart(self) -> None:
        """Start the process again, at most once a second."""
        if time.monotonic() - self._started_at > _RESTART_SECONDS:
            _log.warning("web.process_died", exit_code=self.running.returncode)
            self._start()

    def _start(self) -> None:
        self._started_at = time.monotonic()
        self.running = subprocess.Popen(  # noqa: S603 -- our own command
            self._command,
            stdin=subprocess.DEVNULL,
            pass_fds=self._inherited,
            # Ctrl-C in a terminal reaches only this process, which stops the others in order.
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 -- one system call
        )


def _stop_all(children: list[_Process]) -> None:
    deadline = time.monotonic() + _DRAIN_SECONDS
    for child in children:
        child.running.terminate()
    for child in children:
        wait_or_kill(child.running, deadline - time.monotonic())


def main(factory: str = APP) -> None:
    """Serve as a child of `up`: end when the parent has ended."""
    end_with_parent(os.getppid())
    logs.configure()
    host, port, processes = sys.argv[1:]
    try:
        sys.exit(serve(host, int(port), int(processes), factory))
    except FeedsvcError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
