"""Counts and logs on a disk that may be full, and counts of processes that come and go."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from feedsvc import count_file
from feedsvc.count_file import CountFile


def total(folder, name="feedsvc_feed_pages_total"):
    """Return the sum of a metric's values in all files of a folder."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return sum(
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    )


COUNT = """
import os, signal, sys
from feedsvc.metrics import Metrics
made = Metrics()
for number in range(int(sys.argv[1])):
    made.feed_pages.inc()
    made.http_requests.labels("GET", "/v1/feed", str(number)).inc()
sys.stdout.write("counted")
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


SPEND = """
import os, signal
from feedsvc.metrics import Metrics
made = Metrics()
for misses in (5, 7, 6):
    made.copy_near_cache({("misses", "list"): misses}, {"list": 10, "post": 20})
os.kill(os.getpid(), signal.SIGKILL)
"""


def count(folder, times):
    """Count in a process of its own, which is then killed."""
    ended = subprocess.run(
        [sys.executable, "-c", COUNT, str(times)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        check=False,
    )
    assert ended.stdout == b"counted", ended.stderr
    assert ended.returncode == -signal.SIGKILL


def test_a_new_process_continues_the_counts_of_one_that_has_ended(tmp_path):
    for round_ in range(1, 4):
        count(tmp_path, 5)
        assert total(tmp_path) == 5 * round_
        assert len(list(tmp_path.iterdir())) == 1


def test_the_bytes_of_an_ended_process_do_not_count(tmp_path):
    for ending in (SPEND, SPEND):
        ended = subprocess.run(
            [sys.executable, "-c", ending],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            check=False,
        )
        assert ended.returncode == -signal.SIGKILL
    assert total(tmp_path, "feedsvc_near_cache_bytes") == 30
    assert total(tmp_path, "feedsvc_near_cache_misses_total") == 2 * 7


def test_a_process_that_runs_keeps_its_file(tmp_path):
    (tmp_path / f"counter_{os.getppid()}.db").write_bytes(bytes(64))
    (tmp_path / "counter_nobody.db").write_bytes(bytes(64))
    count(tmp_path, 1)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_has_no_hole_also_after_it_has_grown(tmp_path):
    made = CountFile(str(tmp_path / f"counter_{os.getpid()}.db"))
    for number in range(2_000):
        made.write_value(f"a key that is rather long, number {number:06}", float(number), 0.0)
    [path] = tmp_path.iterdir()
    assert path.stat().st_size == 2 * count_file._FILE_BYTES
    assert path.stat().st_blocks * 512 >= path.stat().st_size
    again = CountFile(str(path))
    assert again.read_value("a key that is rather long, number 001999")[0] == 1999.0
    made.close()
    again.close()


@pytest.mark.parametrize("space", [0, count_file._FILE_BYTES])
def test_counting_goes_on_in_memory_without_space(tmp_path, monkeypatch, space):
    left = space

    def write(descriptor, content):
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write_as_ever(descriptor, content[:left])
        left -= written
        return written

    write_as_ever = os.write
    monkeypatch.setattr(count_file.os, "write", write)
    made = CountFile(str(tmp_path / f"counter_{os.getpid()}.db"))
    for number in range(3_000):
        made.write_value(f"a key that is rather long, number {number:06}", float(number), 0.0)
    assert [
        made.read_value(f"a key that is rather long, number {number:06}")[0]
        for number in range(3_000)
    ] == list(map(float, range(3_000)))
    assert len(list(tmp_path.iterdir())) == bool(space), "no empty file stays"


LOG = """
import os, sys
full = os.open("/dev/full", os.O_WRONLY)
os.dup2(full, 2)
from feedsvc import logs
logs.configure()
import structlog
log = structlog.get_logger()
for _ in range(10_000):
    log.warning("something.happened", text="x" * 100)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("something.failed")
os.close(2)
log.warning("something.happened")
sys.stdout.write("went on")
"""


def test_a_log_that_cannot_be_written_is_lost_and_fails_nothing():
    ended = subprocess.run([sys.executable, "-c", LOG], capture_output=True, check=False)
    assert ended.stdout == b"went on"
