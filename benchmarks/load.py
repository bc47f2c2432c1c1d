"""The load generator, a process of its own: `python -m benchmarks.load` reads a plan as JSON.

Open loop: request n is due at start + n ÷ rate, even if earlier requests have no answer yet, and
its latency counts from that moment. With a rate of 0 it is a closed loop, which gives peak
throughput only. The process prints latencies as JSON.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass

from benchmarks.http import Connection

_CONNECTIONS = 32


@dataclass(frozen=True)
class Plan:
    """Requests to send in turn, at `rate` per second for `seconds`."""

    port: int
    requests: list[str]
    seconds: float
    rate: float = 0.0
    connections: int = _CONNECTIONS


@dataclass(frozen=True)
class Load:
    """The outcome of a plan.

    `due`: when each request was due, in seconds since 1970. `latencies`: the seconds from then to
    the answer.
    """

    due: list[float]
    latencies: list[float]
    errors: int
    processor_seconds: float

    @property
    def rate(self) -> float:
        """Return answers per second."""
        return len(self.due) / (max(self.due) - min(self.due))

    def between(self, start: float, end: float) -> list[float]:
        """Return the latencies of the requests that were due between two moments."""
        return [
            latency
            for due, latency in zip(self.due, self.latencies, strict=True)
            if start <= due <= end
        ]


def start(plan: Plan) -> subprocess.Popen[str]:
    """Start the load generator; `collect` waits for its end."""
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
    """Wait for the end and return the outcome. An answer that is not 2xx spoils a measurement."""
    load = Load(**json.loads(process.communicate()[0]))
    assert load.errors == 0, f"{load.errors} of {len(load.due)} answers were not 2xx"
    return load


def run(plan: Plan) -> Load:
    """Carry out a plan and return the outcome."""
    return collect(start(plan))


def _generate(plan: Plan) -> Load:
    numbers = itertools.count()
    started_at, clock = time.time(), time.perf_counter()
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
                answers.append((started_at + due, time.perf_counter() - clock - due, status))

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
