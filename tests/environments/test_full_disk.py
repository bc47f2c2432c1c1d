"""A full disk: the service goes on reading, refuses what it cannot keep, and recovers by itself."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.engines import free_port, wait_until
from tests.environments.calls import SECRET, authorization
from tests.environments.parts import Part

_MEBIBYTE = 1 << 20
_POST = {"photo_url": "https://img.example/1.jpg", "description": "x" * 2_000}


@contextmanager
def small_disk(mebibytes):
    """Mount a disk of this size, and yield its folder."""
    folder = Path(tempfile.mkdtemp(prefix="fs-disk-"))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=777", "tmpfs", folder], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def fill(path):
    """Write into a file until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


class Client:
    """Sends requests as an account, each on a connection of its own."""

    def __init__(self, port):
        self._port = port

    def ask(self, method, path, account=9, body=None, key=None):
        """Return the status, the headers and the JSON of the answer."""
        headers = authorization(account)
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as sent:
            sent.request(method, path, body and json.dumps(body), headers)
            answer = sent.getresponse()
            text = answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return answer.status, answer.headers, json.loads(text) if is_json else text

    def upload(self, key=None):
        return self.ask("POST", "/v1/posts", body=_POST, key=key)

    def feed(self):
        """Walk the whole feed, and return its ids."""
        found, path = [], "/v1/feed?limit=100"
        while path:
            status, _, page = self.ask("GET", path)
            assert status == 200, page
            found += [post["id"] for post in page["data"]]
            following = page["page"]["next_cursor"]
            path = following and f"/v1/feed?limit=100&cursor={following}"
        return found


def upload_until_refused(client, uploads=3_000):
    """Return the ids of the uploads that succeeded before the first one that was refused."""
    made = []
    for _ in range(uploads):
        status, headers, answer = client.upload()
        if status != 201:
            assert status == 503, answer
            assert int(headers["Retry-After"]) > 0
            return made
        made.append(answer["id"])
    pytest.fail("the disk did not become full")


def count_new_series(client):
    """Send requests whose counts need new pages of the files of counts."""
    _, _, document = client.ask("GET", "/openapi.json")
    for path in document["paths"]:
        for method in ("GET", "PUT", "POST", "DELETE", "PATCH"):
            status, headers, answer = client.ask(method, path)  # with {id} as it stands
            assert status < 500, (method, path, answer)
            assert headers["X-Request-ID"]


def children_of(part):
    """Return the processes of `up`, by pid."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "-g", str(part.process.pid)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {line.strip() for line in listed.splitlines() if "ps -o" not in line}


def test_a_full_data_folder_refuses_uploads_serves_reads_and_recovers():
    port = free_port()
    with small_disk(24) as disk:
        command = [sys.executable, "-m", "feedsvc", "up", "--port", str(port), "--workers", "1"]
        with closing(Part(*command, data_dir=disk / "data", jwt_secret=SECRET)) as part:
            part.wait_for(f"http://127.0.0.1:{port}/readyz", 60)
            client = Client(port)
            before = [client.upload()[2]["id"] for _ in range(30)][::-1]
            assert client.feed() == before
            running = children_of(part)
            fill(disk / "ballast")
            made = upload_until_refused(client)
            kept = [*made[::-1], *before]
            fill(disk / "more")
            refused = [client.upload() for _ in range(20)]
            assert {status for status, *_ in refused} == {503}, refused
            assert client.feed() == kept, "reads go on, and nothing that was refused is kept"
            for path in ("/healthz", "/metrics", f"/v1/posts/{before[0]}", "/v1/accounts/9"):
                for _ in range(20):
                    assert client.ask("GET", path)[0] == 200, path
            count_new_series(client)
            for name in ("ballast", "more"):
                (disk / name).unlink()
            wait_until(lambda: client.upload(key="after")[0] == 201, 10)
            [after, *rest] = client.feed()
            assert rest == kept, "the upload with a key is kept once"
            assert client.ask("GET", f"/v1/posts/{after}")[0] == 200
            assert children_of(part) == running, "no process has died"


def test_a_database_on_a_full_disk_refuses_uploads_serves_reads_and_recovers(
    postgresql, redis_server
):
    port = free_port()
    with small_disk(32) as disk:
        space = disk / "space"
        space.mkdir(0o700)
        user = postgresql.user()
        if user is not None:
            os.chown(space, user.pw_uid, user.pw_gid)
        postgresql.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
        postgresql.execute("CREATE DATABASE small TABLESPACE small")
        settings = {
            "database_url": postgresql.url("small"),
            "redis_url": redis_server.url,
            "jwt_secret": SECRET,
        }
        with tempfile.TemporaryDirectory() as folder:
            settings["data_dir"] = folder
            with closing(
                Part(sys.executable, "-m", "feedsvc", "db", "upgrade", **settings)
            ) as part:
                assert part.process.wait(60) == 0, part.output()
            command = [sys.executable, "-m", "feedsvc", "up", "--port", str(port)]
            with closing(Part(*command, **settings)) as part:
                part.wait_for(f"http://127.0.0.1:{port}/readyz", 60)
                client = Client(port)
                before = [client.upload()[2]["id"] for _ in range(30)][::-1]
                running = children_of(part)
                fill(disk / "ballast")
                made = upload_until_refused(client)
                kept = [*made[::-1], *before]
                for number in range(20):
                    status, headers, answer = client.upload(key=f"refused-{number}")
                    if status == 201:
                        kept.insert(0, answer["id"])
                    else:
                        assert (status, headers["Retry-After"] is None) == (503, False), answer
                assert client.feed() == kept
                (disk / "ballast").unlink()
                wait_until(lambda: client.upload(key="after")[0] == 201, 10)
                assert client.feed()[1:] == kept
                assert children_of(part) == running, "no process has died"
        postgresql.execute("DROP DATABASE small WITH (FORCE)")
        postgresql.execute("DROP TABLESPACE small")
