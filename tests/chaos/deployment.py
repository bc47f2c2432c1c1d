"""The service as in production: `up` on PostgreSQL, RabbitMQ and Valkey, as real processes.

A test can kill each process.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa

from tests.engines import Valkey, die_with_parent, free_port, wait_until
from tests.rabbitmq import RabbitMQ
from tests.workers import ROOT, environment

SECRET = "a secret for chaos that is long enough"
# Tiny limits make chains long and trims frequent. The near cache has room for a hundred posts.
LIMITS = {
    "feed_cap": 20,
    "feed_slack": 4,
    "fanout_batch": 3,
    "fanout_slice": 2,
    "promote_at": 16,
    "demote_at": 12,
    "near_cache_bytes": 65_536,
}
_UNFINISHED = "FROM fanouts WHERE state <> 'done' OR next_look_at IS NOT NULL"


class Deployment:
    def __init__(self, database_url, *, web_workers=2, workers=3):
        self.valkey, self.rabbitmq = Valkey(), RabbitMQ()
        self.database = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
        self.folder = Path(tempfile.mkdtemp(prefix="fsc"))
        self.port = free_port()
        processes = ["--web-workers", str(web_workers), "--workers", str(workers)]
        self._command = ["up", "--port", str(self.port), *processes]
        self._environment = environment(
            {
                **LIMITS,
                "data_dir": self.folder,
                "database_url": database_url,
                "redis_url": self.valkey.url,
                "broker_url": self.rabbitmq.url,
                "jwt_secret": SECRET,
            }
        )
        self.start()

    def start(self):
        """Start `up` and wait until it is ready."""
        with (self.folder / "up.log").open("ab") as log:
            self.up = subprocess.Popen(
                [sys.executable, "-m", "feedsvc", *self._command],
                cwd=ROOT,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=die_with_parent,
            )
        assert self.up.stdout.readline().startswith("ready:"), "`up` did not start"
        self.up.stdout.close()  # `up` prints nothing more

    def stop(self):
        """Stop `up` as an operator does, with SIGTERM."""
        self.up.send_signal(signal.SIGTERM)
        assert self.up.wait(30) == 0, "`up` did not stop in order"

    def close(self):
        """Kill all processes and remove their data."""
        self.up.kill()
        self.up.wait()
        self.database.dispose()
        self.rabbitmq.close()
        self.valkey.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *arguments):
        """Run a command of the service; return its stdout, its stderr and its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "feedsvc", *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout, done.stderr, done.returncode

    def processes(self, kind):
        """Return the pids of processes of `up`: "web", "web worker", "worker" or "beat"."""
        children = _children(self.up.pid)
        web = [pid for pid in children if _arguments(pid)[2:4] == ["feedsvc", "web"]]
        if kind == "web":
            return web
        if kind == "web worker":
            return [pid for parent in web for pid in _children(parent)]
        return [pid for pid in children if _arguments(pid)[2:4] == ["feedsvc", kind]]

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)

    def kill_up(self):
        """Kill the supervisor, wait until its children have freed the port, and start it again."""
        self.up.kill()
        self.up.wait()
        wait_until(self._port_is_free, 10)
        self.start()

    def drop_database_connections(self):
        with self.database.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def restart_rabbitmq(self):
        self.rabbitmq.kill()
        self.rabbitmq.start()

    def _port_is_free(self):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return _binds(probe, self.port)

    def wait_for_fanouts(self, seconds):
        """Wait until every fan-out is done and every pushed post is off its celebrity list."""
        count = f"SELECT count(*) {_UNFINISHED}"
        try:
            wait_until(lambda: self._query(count) == [(0,)], seconds)
        except AssertionError:
            raise AssertionError(
                f"fan-outs are stuck after {seconds} s without faults: {self._stuck_fanouts()}"
            ) from None

    def finished_fanouts(self):
        [(count,)] = self._query("SELECT count(*) FROM fanouts WHERE state = 'done'")
        return count

    def _stuck_fanouts(self):
        """Describe the unfinished fan-outs: their number by state, and the five oldest."""
        columns = (
            "state, next_look_at - now() AS due_in, post_id, generation, stalls, followers, "
            "lane_bounds, started_at"
        )
        counts = self._query(f"SELECT state, count(*), max(stalls) {_UNFINISHED} GROUP BY state")
        oldest = self._query(f"SELECT {columns} {_UNFINISHED} ORDER BY post_id LIMIT 5")
        return f"{counts}; {oldest}"

    def _query(self, sql):
        with self.database.connect() as connection:
            return connection.exec_driver_sql(sql).all()


def _binds(probe, port):
    try:
        probe.bind(("127.0.0.1", port))
        probe.listen()
    except OSError:
        return False
    return True


def _children(pid):
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _arguments(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []
