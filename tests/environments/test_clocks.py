"""Web, worker, beat and PostgreSQL with clocks of their own, which are set while they run."""

from __future__ import annotations

import ctypes
import json
import mmap
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from feedsvc.store.redis import keys
from tests.engines import free_port, wait_until
from tests.environments.calls import PHOTO, SECRET, authorization, migrated
from tests.environments.parts import Part
from tests.environments.servers import PostgreSQL, Redis

VIEWER, AUTHORS = 1, (8, 9)

# A library that a process loads first. The monotonic clock stays as it is.
SHIM = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile int64_t *offset;
__attribute__((constructor)) static void open_offset(void) {
  int file = open(getenv("CLOCK_OFFSET"), O_RDONLY);
  void *at = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
  offset = at == MAP_FAILED ? 0 : at;
}
int clock_gettime(clockid_t id, struct timespec *t) {
  int failed = syscall(SYS_clock_gettime, id, t);
  if (!failed && offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
    t->tv_sec += *offset;
  return failed;
}
int gettimeofday(struct timeval *restrict t, void *restrict zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}
"""


class Clocks:
    """The clock of each part: how many seconds it is ahead."""

    def __init__(self, monkeypatch):
        self._monkeypatch, self._offsets = monkeypatch, {}
        self.folder = Path(tempfile.mkdtemp(prefix="fs-clocks-"))
        self.folder.chmod(0o755)
        source = self.folder / "shim.c"
        source.write_text(SHIM)
        self._shim = self.folder / "shim.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(self._shim), str(source)], check=True)

    def start(self, name, seconds, make):
        """Start a part whose clock is some seconds ahead."""
        path = self.folder / name
        path.write_bytes(bytes(mmap.PAGESIZE))
        path.chmod(0o644)
        with path.open("r+b") as file:
            self._offsets[name] = ctypes.c_int64.from_buffer(mmap.mmap(file.fileno(), 0))
        self.set(name, seconds)
        with self._monkeypatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(self._shim))
            patch.setenv("CLOCK_OFFSET", str(path))
            return make()

    def set(self, name, seconds):
        """Set the clock of a part that runs."""
        self._offsets[name].value = seconds

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Service:
    """The three parts, each with a clock of its own, and a client that polls."""

    def __init__(self, started, clocks, *, web, worker, beat, database):
        start = clocks.start
        self.postgresql = started(closing(start("database", database, PostgreSQL)))
        self.redis = started(closing(Redis()))
        self.clocks, self.port = clocks, free_port()
        settings = {
            "database_url": migrated(self.postgresql.url()),
            "redis_url": f"redis://127.0.0.1:{self.redis.port}/0",
            "jwt_secret": SECRET,
        }

        def part(name, seconds, *options):
            command = (sys.executable, "-m", "feedsvc", name, *options)
            return started(closing(start(name, seconds, lambda: Part(*command, **settings))))

        part("beat", beat)
        part("worker", worker)
        part("web", web, "--port", str(self.port)).wait_for(f"{self.url}/healthz")
        for author in AUTHORS:
            self.ask("PUT", f"/v1/accounts/{author}", author)
            self.ask("PUT", f"/v1/accounts/me/following/{author}", VIEWER)
        first = self.ask("GET", "/v1/feed?limit=10", VIEWER)
        self.cursor, self.shown = first["page"]["prev_cursor"], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def upload(self, count):
        """Upload posts, and poll in between. Return their ids."""
        posts = []
        for number in range(count):
            answer = self.ask("POST", "/v1/posts", AUTHORS[number % 2], PHOTO)
            posts.append(int(answer["id"]))
            if number % 3 == 0:
                self.poll()
        return posts

    def poll(self):
        """Poll until nothing comes. Return everything that was ever shown."""
        while True:
            answer = self.ask("GET", f"/v1/feed?limit=10&cursor={self.cursor}", VIEWER)
            self.cursor = answer["page"]["prev_cursor"]
            if not answer["data"]:
                return self.shown
            self.shown += [int(post["id"]) for post in answer["data"]]

    def sweeps(self):
        """Return whether the latest sweep ended within the last second."""
        left_ms = self.redis.client().pttl(keys.LAST_SWEEP)
        return left_ms > 3_600_000 - 1_000

    def is_swept(self):
        """Leave an outbox row behind, as a killed process does. Return whether a sweep takes it."""
        self.postgresql.execute(
            "INSERT INTO changes (kind, ids, made_at) VALUES ('relations', '[1]', now())"
        )
        left = "SELECT count(*) FROM changes"
        return wait_until(lambda: self.postgresql.execute(left) == [(0,)])

    def degraded(self):
        return self.ask("GET", "/readyz", VIEWER).get("degraded", [])

    def ask(self, method, path, account, body=None):
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={**authorization(account), "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            pytest.fail(f"{method} {path}: {error.code} {error.read().decode()}")


@pytest.fixture
def clocks(monkeypatch):
    with closing(Clocks(monkeypatch)) as made:
        yield made


@pytest.fixture
def start(clocks):
    """Return a function that starts the service with the given clocks."""
    with ExitStack() as started:
        yield lambda **ahead: Service(started.enter_context, clocks, **ahead)


def test_hosts_whose_clocks_differ_serve_and_sweep_exactly(start):
    service = start(web=8, worker=5, beat=-3, database=0)
    wait_until(service.sweeps)
    assert service.is_swept()
    posts = service.upload(32)
    assert sorted(service.poll()) == posts
    assert "clocks" in wait_until(service.degraded)


def test_clocks_that_are_set_back_lose_no_post_and_stop_no_sweep(start):
    service = start(web=0, worker=0, beat=0, database=0)
    wait_until(service.sweeps)
    posts = service.upload(6)
    service.clocks.set("beat", -600)
    service.clocks.set("database", -60)
    assert "clocks" in wait_until(service.degraded)
    posts += service.upload(12)
    assert posts == sorted(posts), "ids fell"
    assert sorted(service.poll()) == posts
    wait_until(service.sweeps)
    assert service.is_swept()
