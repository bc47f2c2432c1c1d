"""The load generator, a process of its own: `python -m benchmarks.load` takes a plan as JSON and answers with latencies.

Open loop: request number n is due at start + n ÷ rate, whatever became of the ones before, and its latency counts from then. With
a rate of 0 it is a closed loop, which gives peak throughput only.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from statistics import quantiles

from benchmarks.http import Connection

_CONNECTIONS = 32


@dataclass(frozen=True)
class Plan:
    """Requests, taken in turn, at `rate` a second for `seconds`."""

    port: int
    requests: list[str]
    seconds: float
    rate: float = 0.0
    connections: int = _CONNECTIONS


@dataclass(frozen=True)
class Load:
    """What came of it: when each request was due (seconds since 1970) and how long after that it was answered (seconds)."""

    due: list[float]
    latencies: list[float]
    errors: int
    processor_seconds: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.due) / (max(self.due) - min(self.due))

    def between(self, start: float, end: float) -> list[float]:
        """The latencies of what was due in this time."""
        return [
            latency
            for due, latency in zip(self.due, self.latencies, strict=True)
            if start <= due <= end
        ]


def start(plan: Plan) -> subprocess.Popen[str]:
    """Begin; `collect` waits for the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(plan)) + "\n")
    process.stdin.flush()
    return process


def collect(process: subprocess.Popen[str]) -> Load:
    """What came of it. A request that was not answered with 2xx is a fault of the measurement."""
    load = Load(**json.loads(process.communicate()[0]))
    assert load.errors == 0, f"{load.errors} of {len(load.due)} requests failed"
    return load


def run(plan: Plan) -> Load:
    """`start` and `collect`."""
    return collect(start(plan))


def percentile(values: list[float], percent: int) -> float:
    """That percentile."""
    return (
        quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]
    )


def _generate(plan: Plan) -> Load:
    numbers = itertools.count()
    begun_at, clock = time.time(), time.perf_counter()
    messages = [each.encode() for each in plan.requests]
    answers: list[tuple[float, float, int]] = []

    def work() -> None:
        with Connection(plan.port) as connection:
            while True:
                number = next(numbers)
                due = number / plan.rate if plan.rate else time.perf_counter() - clock
                if due > plan.seconds:
                    return
                time.sleep(max(0.0, clock + due - time.perf_counter()))
                status, _ = connection.ask(messages[number % len(messages)])
                answers.append((begun_at + due, time.perf_counter() - clock - due, status))

    threads = [threading.Thread(target=work) for _ in range(plan.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    due, latencies, statuses = map(list, zip(*answers, strict=True))
    return Load(
        due, latencies, sum(not 200 <= status < 300 for status in statuses), time.process_time()
    )


if __name__ == "__main__":
    print(json.dumps(asdict(_generate(Plan(**json.loads(sys.stdin.readline()))))))
