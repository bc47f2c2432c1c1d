"""The service as it runs in production, as real processes, every one of which can be killed: `up` on PostgreSQL, RabbitMQ and a Valkey."""

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
# So tiny that chains are long, and feeds are trimmed all the time.
LIMITS = {
    "feed_cap": 20,
    "feed_slack": 4,
    "fanout_batch": 3,
    "fanout_slice": 2,
    "promote_at": 16,
    "demote_at": 12,
}


class Deployment:
    def __init__(self, database_url, *, web_workers=2, workers=3):
        self.valkey, self.rabbitmq = Valkey(), RabbitMQ()
        self.database = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
        self.folder = Path(tempfile.mkdtemp(prefix="fsc"))
        self.port = free_port()
        self._command = [
            "up",
            "--port",
            str(self.port),
            "--web-workers",
            str(web_workers),
            "--workers",
            str(workers),
        ]
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
        assert self.up.stdout.readline().startswith("ready:"), "up did not start"
        self.up.stdout.close()  # it prints nothing more

    def stop(self):
        """Stop `up` as an operator would."""
        self.up.send_signal(signal.SIGTERM)
        assert self.up.wait(30) == 0, "up did not stop in order"

    def close(self):
        """End what is left, and remove every trace."""
        self.up.kill()
        self.up.wait()
        self.database.dispose()
        self.rabbitmq.close()
        self.valkey.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *words):
        """Run a command of the service; returns what it answered, what else it said, and its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "feedsvc", *words],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout, done.stderr, done.returncode

    def processes(self, kind):
        """The pids of `up`'s children of a kind: "web", "web worker", "worker" or "beat"."""
        children = _children(self.up.pid)
        web = [pid for pid in children if "feedsvc.supervise.web" in _words(pid)]
        if kind == "web worker":
            return [pid for parent in web for pid in _children(parent)]
        return (
            web
            if kind == "web"
            else [
                pid
                for pid in children
                if "feedsvc.supervise.celery_process" in _words(pid) and kind in _words(pid)
            ]
        )

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)

    def kill_up(self):
        """Kill the supervisor itself; its children end with it, and free the port; start it again."""
        self.up.kill()
        self.up.wait()
        wait_until(self._port_is_free, 10)
        self.start()

    def drop_database_connections(self):
        with self.database.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def restart_rabbitmq(self):
        self.rabbitmq.kill()
        self.rabbitmq.start()

    def _port_is_free(self):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return _binds(probe, self.port)

    def unfinished_fanouts(self):
        with self.database.connect() as connection:
            return connection.exec_driver_sql(
                "SELECT count(*) FROM fanouts WHERE state <> 'done' OR next_look_at IS NOT NULL"
            ).scalar()

    def await_quiet(self, seconds):
        """Wait until every fan-out is done and off its celebrity list."""
        try:
            wait_until(lambda: self.unfinished_fanouts() == 0, seconds)
        except AssertionError:
            raise AssertionError(f"stuck after {seconds} s of peace: {self._stuck()}") from None

    def _stuck(self):
        """How many fan-outs are in which state, and the oldest of them."""
        columns = "state, next_look_at - now() AS look_in, post_id, generation, stalls, followers, lane_bounds, started_at"
        unfinished = "FROM fanouts WHERE state <> 'done' OR next_look_at IS NOT NULL"
        with self.database.connect() as connection:
            counts = connection.exec_driver_sql(
                f"SELECT state, count(*), max(stalls) {unfinished} GROUP BY state"
            ).all()
            oldest = connection.exec_driver_sql(
                f"SELECT {columns} {unfinished} ORDER BY post_id LIMIT 5"
            ).all()
        return f"{counts}; {oldest}"


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


def _words(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []
