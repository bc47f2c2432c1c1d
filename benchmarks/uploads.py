"""P6: whether an upload notices how many followers there are. No worker runs: the answer does not wait for one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from benchmarks import feeds, load
from benchmarks.backlog import settle
from benchmarks.http import Connection

if TYPE_CHECKING:
    from benchmarks.crowd import Crowd
    from benchmarks.options import Options

_UPLOADS = 1_000


def measure(crowd: Crowd, options: Options) -> dict[str, Any]:
    """Uploads of the one with all the followers and of the one with none, in turn, each round a thousand of both."""
    count = options.scaled(_UPLOADS, 20)
    messages = {
        "all": feeds.upload_request(feeds.AUTHOR),
        "none": feeds.upload_request(feeds.QUIET),
    }
    p99s: dict[str, list[float]] = {name: [] for name in messages}
    with Connection(crowd.port) as connection:
        for _ in tqdm(
            range(options.rounds), desc="uploads", unit=" rounds", leave=False, disable=None
        ):
            taken: dict[str, list[float]] = {name: [] for name in messages}
            for _ in range(count):
                for name, message in messages.items():
                    taken[name].append(_upload(connection, message))
            for name, values in taken.items():
                p99s[name].append(load.percentile(values, 99))
            settle(crowd.bench)
    return {
        "rows": {
            "P6": [some / nobody for some, nobody in zip(p99s["all"], p99s["none"], strict=True)]
        },
        "series": {
            f"upload p99 with {name} of the followers, ms": [1_000 * value for value in values]
            for name, values in p99s.items()
        },
    }


def _upload(connection: Connection, message: bytes) -> float:
    started = time.perf_counter()
    status, body = connection.ask(message)
    assert status == 201, body
    return time.perf_counter() - started
