"""A RabbitMQ node for one test process, from the package of the system.

It has free ports and its own folder, and a test may kill it. Two test processes never share a node,
because their workers would take each other's messages.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.engines import die_with_parent, free_port, wait_until

# Debian's command of this name changes the user. The script behind it runs as the current user.
_PLACES = ["/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"]
_CONTROLS = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "rabbitmqctl"]
_START_SECONDS = 60


class RabbitMQ:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fsr"))
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        (self.folder / "plugins").write_text("[].\n")
        self._environment = {
            **os.environ,
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"{self.folder.name}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "db"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
        }
        self.start()

    def start(self) -> None:
        """Start the node and wait until it accepts connections. It finds its durable queues."""
        command = next((found for place in _PLACES if (found := shutil.which(place))), None)
        assert command, (
            "RabbitMQ is not installed: install it, or choose another broker for the tests"
        )
        self.process = subprocess.Popen(
            [command],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        wait_until(self._listens, _START_SECONDS)

    def control(self, *command: str) -> None:
        """Run a command of `rabbitmqctl` on this node."""
        place = next(found for name in _CONTROLS if (found := shutil.which(name)))
        subprocess.run(
            [place, "--node", self._environment["RABBITMQ_NODENAME"], "--quiet", *command],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def kill(self) -> None:
        """Kill the node, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not self._accepts_connections())  # the node is a child of this process

    def close(self) -> None:
        """Kill the node and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _listens(self) -> bool:
        assert self.process.poll() is None, "RabbitMQ ended at its start"
        return self._accepts_connections()

    def _accepts_connections(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
