"""Child processes that are started, watched, started again when they die, and stopped in order."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from feedsvc.embedded.valkey import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_log = structlog.get_logger()

# A child that dies at once is started again after this long, so that a broken one does not spin.
_PAUSE_SECONDS = 1.0


@dataclass
class Child:
    """One process of the service."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: float = field(default=0.0)

    def start(self) -> None:
        """Start it; its output goes to the end of its log."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 -- our own command
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in a terminal is for us, who stop the children in order
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- one system call
            )
        self.started_at = time.monotonic()

    def is_dead(self) -> bool:
        """Whether it has ended."""
        return self.process is None or self.process.poll() is not None

    def revive(self) -> None:
        """Start it again if it has ended, unless that was just now."""
        if self.is_dead() and time.monotonic() - self.started_at > _PAUSE_SECONDS:
            assert self.process is not None, "only started children are revived"
            _log.warning(
                "up.child_died",
                child=self.name,
                exit_code=self.process.returncode,
                log=str(self.log),
            )
            self.start()

    def ask_to_stop(self) -> None:
        """Tell it to finish what it does and end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def await_end(self, seconds: float) -> None:
        """Wait for its end; after so long, end it."""
        if self.process is None:
            return
        try:
            self.process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
