"""A process of the service, or of a server that runs it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.engines import die_with_parent, wait_until

_START_SECONDS = 30


class Part:
    """A process of the service, or of a server that runs it: `command` with `settings` around it.

    `settings` are the names of the settings without prefix, in lower case. Variables of the test's
    own environment that name settings are left out.
    """

    def __init__(self, *command: str, cwd: Path | None = None, **settings: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fs-part-"))
        self.log = self.folder / "log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if "FEEDSVC_" not in name},
            "PYTHONUNBUFFERED": "1",
            **{f"FEEDSVC_{name.upper()}": str(value) for name, value in settings.items()},
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                start_new_session=True,
            )

    def output(self) -> str:
        """Return what the process has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, url: str, seconds: float = _START_SECONDS) -> None:
        """Wait until the address answers with a status below 500."""
        wait_until(lambda: self._is_alive() and _status(url) < 500, seconds)

    def wait_for_text(self, text: str, seconds: float = _START_SECONDS) -> None:
        """Wait until the process has printed a text."""
        wait_until(lambda: text in self.output() or not self._is_alive(), seconds)
        assert text in self.output()

    def stop(self, number: int = signal.SIGTERM, seconds: float = 25) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def close(self) -> None:
        """Kill the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_alive(self) -> bool:
        assert self.process.poll() is None, self.output()[-3000:]
        return True


def _status(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        time.sleep(0.05)
        return 599
