"""Child processes: start, watch and stop them, and end a child with its parent."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from feedsvc.embedded.valkey import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_log = structlog.get_logger()

# The minimum time between two starts of a child, so that a broken child does not restart in a tight
# loop.
_PAUSE_SECONDS = 1.0
_POLL_SECONDS = 0.25
# The variable in which `up` passes its pid to its children. If `up` has already ended, a child's
# `os.getppid` gives another process.
UP_PID = "_FEEDSVC_UP_PID"


@dataclass
class Child:
    """One process of the service. It starts at once, and appends its output to `log`."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)
    started_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    def restart_if_dead(self) -> None:
        """Start the process again if it has ended, at most once a second."""
        exit_code = self.process.poll()
        if exit_code is not None and time.monotonic() - self.started_at > _PAUSE_SECONDS:
            _log.warning("up.child_died", child=self.name, exit_code=exit_code, log=str(self.log))
            self._start()

    def _start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 -- our own command
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C in the terminal reaches only `up`, which stops the children in order.
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- one system call
            )
        self.started_at = time.monotonic()


def end_with_up() -> None:
    """End this process when the `up` that started it ends. Do nothing if no `up` started it."""
    if UP_PID in os.environ:
        end_with_parent(int(os.environ[UP_PID]))


def end_with_parent(parent: int) -> None:
    """End this process within a quarter of a second after its parent has ended.

    `parent` is the pid of the parent, which may have ended already. On Linux the kernel ends the
    direct children of `up`. This function also covers their children (web workers), and macOS.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()
