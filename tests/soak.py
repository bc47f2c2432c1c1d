"""`make soak`: run the state machine with fresh seeds for a given time.

`python -m tests.soak --seed N` repeats one seed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import hypothesis
import structlog
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import cluster
from tests.conftest import TINY
from tests.engines import Databases
from tests.machine import Machine

EXAMPLES_A_SEED = 10


def main():
    options = _options()
    warnings.simplefilter("error")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="fsd") as folder:
        databases, valkey = Databases(Path(folder)), cluster.start_redis()
        budget = {"near_cache_bytes": options.near_cache_bytes} if options.near_cache_bytes else {}
        Machine.engines = (databases.fresh, valkey, TINY | budget)
        try:
            return _soak(options)
        finally:
            valkey.close()
            databases.close()


def _options():
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="duration (default 30)")
    parser.add_argument("--seed", type=int, help="run only this seed, once")
    parser.add_argument("--first-seed", type=int, default=int(time.time()), help="the first seed")
    parser.add_argument(
        "--near-cache-bytes",
        type=int,
        nargs=2,
        help="the budgets of the two web processes (default: those of tests/served.py)",
    )
    parser.add_argument("--steps", type=int, default=40, help="steps of each run (default 40)")
    return parser.parse_args()


def _soak(options):
    seeds = [options.seed] if options.seed is not None else range(options.first_seed, sys.maxsize)
    started, runs = time.monotonic(), 0
    for seed in seeds:
        if not _passes(seed, options.steps):
            print(f"\nto repeat: python -m tests.soak --seed {seed} --steps {options.steps}")
            return 1
        runs += 1
        minutes = (time.monotonic() - started) / 60
        line = (
            f"{minutes:6.1f} min  seed {seed}  {Machine.runs} runs, {Machine.steps_taken} steps, "
            f"{Machine.walks_taken} walks: nothing wrong"
        )
        print(line, end="\r" if sys.stdout.isatty() else "\n", flush=True)
        if minutes >= options.minutes:
            break
    print(f"\n{runs} seeds from {seeds[0]}: every walk was the oracle's")
    return 0


def _passes(seed, step_count):
    """Run a seed; print the shortest sequence of steps that fails, if there is one."""
    profile = settings(
        max_examples=EXAMPLES_A_SEED,
        stateful_step_count=step_count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(Machine), settings=profile)
    except AssertionError as error:
        print(f"\n{error}\n", *getattr(error, "__notes__", ()), sep="\n")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
