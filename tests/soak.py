"""`make soak`: the state machine with fresh seeds, for as long as asked; `python -m tests.soak --seed N` runs one seed again."""

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
        Machine.engines = (databases.fresh, valkey, TINY)
        try:
            return _soak(options)
        finally:
            valkey.close()
            databases.close()


def _options():
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long (default 30)")
    parser.add_argument("--seed", type=int, help="run this seed once, and nothing else")
    parser.add_argument("--first-seed", type=int, default=int(time.time()), help="where to begin")
    parser.add_argument("--steps", type=int, default=40, help="steps of each run (default 40)")
    return parser.parse_args()


def _soak(options):
    seeds = [options.seed] if options.seed is not None else range(options.first_seed, sys.maxsize)
    started, runs = time.monotonic(), 0
    for seed in seeds:
        if not _holds(seed, options.steps):
            print(f"\nfound with: python -m tests.soak --seed {seed} --steps {options.steps}")
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


def _holds(seed, step_count):
    """Whether a seed finds nothing; what it finds, it prints, made as short as possible."""
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
