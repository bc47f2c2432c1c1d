"""What others do, on the same server and database: each `deliver` returns the seconds that a post takes to its last follower."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import feeds, tutorial
from benchmarks.service import WORKERS, running, until
from feedsvc.embedded.valkey import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.service import Bench

_HERE = Path(__file__).parent
_ENVIRONMENT = _HERE.parent / ".venv-peers"


@contextmanager
def tutorials(bench: Bench, followers: int, *how: str) -> Iterator[Callable[[], float]]:
    """The tutorial's chained task, with as many workers as ours, on the lists of `fill_tutorials`; `how`: see `benchmarks.tutorial`."""
    app = tutorial.make_celery(bench.broker.broker_url, *how)
    last = f"{tutorial.PREFIX}{feeds.followers(followers)[-1]}"
    client = bench.server.client

    def deliver() -> float:
        post_id = time.time_ns()
        started = time.perf_counter()
        app.send_task(tutorial.TASK, (post_id, feeds.AUTHOR, 0, followers))
        until(lambda: int(client.lindex(last, 0)) == post_id, 0.005)
        return time.perf_counter() - started

    os.environ[tutorial.PORT] = str(bench.server.port)
    with running(
        bench, [["benchmarks.tutorial", f"tutorial-{number}", *how] for number in range(WORKERS)]
    ):
        deliver()  # its first task loads code
        yield deliver


def fill_tutorials(bench: Bench, followers: int, post_ids: list[int]) -> None:
    """Full lists for the tutorial's task."""
    feeds.fill_lists(bench, tutorial.PREFIX, 1, feeds.followers(followers), post_ids)


@contextmanager
def stream_frameworks(
    bench: Bench, followers: int, processes: int
) -> Iterator[Callable[[], float]]:
    """Stream-Framework's Redis feeds, in so many processes, each with its share of the followers."""
    settings = [
        bench.server.socket,
        bench.stores.sql.engine.url.database,
        feeds.AUTHOR,
        followers,
        bench.stores.limits.feed_cap,
    ]
    shares = [
        _peer([*map(str, settings), str(processes), str(number)]) for number in range(processes)
    ]

    def wait() -> None:
        for share in shares:
            assert share.stdout is not None
            assert share.stdout.readline() == "ready\n", "Stream-Framework has failed"

    def deliver() -> float:
        started = time.perf_counter()
        for share in shares:
            assert share.stdin is not None
            share.stdin.write("post\n")
            share.stdin.flush()
        wait()
        return time.perf_counter() - started

    try:
        wait()  # until the feeds are full
        yield deliver
    finally:
        for share in shares:
            share.kill()
            share.wait()


def _peer(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(_ENVIRONMENT / "bin" / "python"), str(_HERE / "stream_framework_peer.py"), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509
    )


def make_environment() -> None:
    """Install the peer, once, beside the project's own environment."""
    ready = _ENVIRONMENT / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_ENVIRONMENT)], check=True)
        pip = [
            str(_ENVIRONMENT / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "-qq",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "-r", str(_HERE / "stream-framework.txt")], check=True)
        ready.touch()
