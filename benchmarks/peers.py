"""Other implementations of fan-out, on the same server and database as the service.

Each context gives a function that delivers a post and returns the seconds to its last follower.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import baseline_tasks, feeds
from benchmarks.service import WORKERS, running, until
from feedsvc.embedded.valkey import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.service import Bench

_HERE = Path(__file__).parent
_ENVIRONMENT = _HERE.parent / ".venv-peers"


@contextmanager
def tutorials(bench: Bench, followers: int, kind: str) -> Iterator[Callable[[], float]]:
    """Run the tutorial's chained task, with as many workers as the service has.

    The lists must exist (`fill_tutorials`). `kind`: "tutorial" or "tuned", see
    `benchmarks.baseline_tasks`.
    """
    app = baseline_tasks.make_celery(bench.broker.broker_url, kind)
    last = f"{baseline_tasks.PREFIX}{feeds.followers(followers)[-1]}"
    client = bench.server.client

    def deliver() -> float:
        post_id = time.time_ns()
        started = time.perf_counter()
        app.send_task(baseline_tasks.FAN_OUT, (post_id, feeds.AUTHOR, 0, followers))
        until(lambda: int(client.lindex(last, 0)) == post_id, 0.005)
        return time.perf_counter() - started

    os.environ[baseline_tasks.PORT] = str(bench.server.port)
    names = [f"{kind}-{number}" for number in range(WORKERS)]
    with running(bench, [["benchmarks.baseline_tasks", name, kind] for name in names]):
        deliver()  # a worker's first task loads code
        yield deliver


def fill_tutorials(bench: Bench, followers: int, post_ids: list[int]) -> None:
    """Store full lists for the tutorial's task."""
    feeds.fill_lists(bench, baseline_tasks.PREFIX, 1, feeds.followers(followers), post_ids)


@contextmanager
def stream_frameworks(
    bench: Bench, followers: int, processes: int
) -> Iterator[Callable[[], float]]:
    """Run Stream-Framework's Redis feeds; each process has its share of the followers."""
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
            assert share.stdout.readline() == "ready\n", (
                "Stream-Framework failed, see its traceback"
            )

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
    """Install Stream-Framework into an environment of its own, once."""
    ready = _ENVIRONMENT / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_ENVIRONMENT)], check=True)
        pip = [str(_ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "-qq"]
        requirements = ["-r", str(_HERE / "stream-framework.txt")]
        subprocess.run([*pip, "--disable-pip-version-check", *requirements], check=True)
        ready.touch()
