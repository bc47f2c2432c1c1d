"""`up`: the whole service as processes, each killed in turn."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import jwt
import pytest

from tests import workers
from tests.engines import free_port, wait_until

ROOT = Path(__file__).parents[1]
AUTHOR, FOLLOWER = 2**62 + 1, 2**62 + 2


class Up:
    """A running `up` on a data folder of its own."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("FEEDSVC_")
        }
        self.environment["FEEDSVC_DATA_DIR"] = str(folder)
        # `up` asks its own web server whether it serves, and no proxy takes part in that.
        self.environment["http_proxy"] = "http://127.0.0.1:1"
        self.process = self.command("up", "--port", "0", "--web-workers", "1", *options)
        line = self.process.stdout.readline()
        assert line.startswith("ready: http://127.0.0.1:"), (
            line,
            self.process.stderr.read() if self.process.poll() else "",
        )
        self.url = line.split()[1]

    def command(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "feedsvc", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, method, path, account, body=None, scope="feed"):
        claims = {"sub": str(account), "scope": scope, "exp": time.time() + 600}
        token = jwt.encode(claims, (self.folder / "jwt-secret").read_text(), "HS256")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def call_until_up(self, *args, **options):
        def attempt():
            try:
                return [self.call(*args, **options)]
            except (OSError, urllib.error.URLError):
                return None

        return wait_until(attempt, 30)[0]

    def works(self):
        """Check that an upload is in the follower's feed and that its fan-out ends."""
        post = self.call_until_up(
            "POST", "/v1/posts", AUTHOR, {"photo_url": "https://img.example/1.jpg"}
        )
        feed = self.call_until_up("GET", "/v1/feed", FOLLOWER)
        assert feed["data"][0] == post
        path = f"/v1/admin/fanouts/{post['id']}"
        wait_until(
            lambda: self.call_until_up("GET", path, 1, scope="admin:read")["state"] == "done", 40
        )
        return True

    def children(self):
        """Return the pids of the direct children, by name."""
        named = {}
        for pid in pids():
            try:
                status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            except OSError:
                continue
            if int(status[1]) == self.process.pid and status[0] != "Z":
                named["valkey" if "valkey" in command[0] else " ".join(command[2:5])] = pid
        return named

    def family(self):
        """Return the pids of all processes that name the data folder."""
        return [pid for pid in pids() if pid != os.getpid() and self._mentions(pid)]

    def _mentions(self, pid):
        try:
            return (
                str(self.folder).encode()
                in Path(f"/proc/{pid}/environ").read_bytes()
                + Path(f"/proc/{pid}/cmdline").read_bytes()
            )
        except OSError:
            return False

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)

    def close(self):
        if self.process.poll() is None:
            self.stop()
        self.process.stdout.close()
        self.process.stderr.close()


def pids():
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    started = Up(tmp_path_factory.mktemp("up") / "data", "--workers", "1")
    for account in (AUTHOR, FOLLOWER):
        started.call("PUT", f"/v1/accounts/{account}", account)
    started.call("PUT", f"/v1/accounts/me/following/{AUTHOR}", FOLLOWER)
    yield started
    started.close()


def failed(process):
    """Return the exit code and the one-line message of a command that fails."""
    out, err = process.communicate(timeout=60)
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    return process.returncode, err


def test_a_killed_child_is_restarted_and_the_service_works(up):
    assert up.works()
    names = set(up.children())
    assert len(names) == 4, names
    for name in sorted(names):
        killed = up.children()[name]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda name=name, killed=killed: up.children().get(name, killed) != killed, 10)
        assert up.works(), name
    assert set(up.children()) == names


def test_only_its_owner_may_read_the_secret(up):
    assert (up.folder / "jwt-secret").stat().st_mode & 0o777 == 0o600


def test_a_second_up_on_one_folder_is_refused(up):
    code, message = failed(up.command("up", "--port", "0"))
    assert code == 1
    assert str(up.process.pid) in message


def test_a_port_in_use_is_refused(up, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        up.environment["FEEDSVC_DATA_DIR"] = str(tmp_path / "other")
        port = str(taken.getsockname()[1])
        code, message = failed(up.command("up", "--port", port))
        up.environment["FEEDSVC_DATA_DIR"] = str(up.folder)
    assert code == 1
    assert port in message


def test_commands_work_beside_a_running_up(up):
    process = up.command("token", "--account", str(FOLLOWER), "--json")
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["token"].count(".") == 2
    process = up.command("feed", "audit", "--json")
    out, err = process.communicate(timeout=60)
    assert (json.loads(out)["differences"], process.returncode) == (0, 0), err


def test_a_terminated_up_drains_and_leaves_no_process(tmp_path):
    started = Up(tmp_path / "data", "--workers", "0")
    started.call("PUT", f"/v1/accounts/{AUTHOR}", AUTHOR)
    started.call("POST", "/v1/posts", AUTHOR, {"photo_url": "https://img.example/1.jpg"})
    assert len(started.call("GET", "/v1/feed", AUTHOR)["data"]) == 1, "no worker is needed"
    assert started.stop() == 0
    assert started.family() == []
    started.close()


def test_a_killed_up_leaves_no_process_and_frees_its_folder_and_port(tmp_path):
    deep = tmp_path / ("deep" * 20) / ("deeper" * 10)
    started = Up(deep, "--workers", "1")
    port = started.url.rpartition(":")[2]
    started.stop(signal.SIGKILL)
    wait_until(lambda: started.family() == [], 10)
    again = started.command("up", "--port", port, "--workers", "0")
    assert again.stdout.readline() == f"ready: {started.url}\n"
    again.send_signal(signal.SIGINT)
    assert again.wait(30) == 0
    again.stdout.close()
    again.stderr.close()
    started.close()


def test_a_web_worker_ends_with_a_server_that_dies_during_its_start(settings):
    """`make chaos` found the fault: a worker that asked for its parent too late served for ever."""
    server = workers.start_module(
        settings, "feedsvc.supervise.web", "127.0.0.1", str(free_port()), "1"
    )
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    [child] = wait_until(lambda: children.read_text().split())
    server.kill()
    server.wait()
    wait_until(lambda: not Path(f"/proc/{child}").exists(), 20)


def test_a_folder_that_cannot_be_written_is_refused(up, tmp_path):
    (tmp_path / "file").write_text("")
    up.environment["FEEDSVC_DATA_DIR"] = str(tmp_path / "file" / "data")
    code, message = failed(up.command("up", "--port", "0"))
    up.environment["FEEDSVC_DATA_DIR"] = str(up.folder)
    assert code == 1
    assert "FEEDSVC_DATA_DIR" in message
