"""Plant errors and check that the tests catch each of them: `python -m tests.planted [NAME...]`.

Each error of tests/planted_*.py is planted in a copy of the repository. Then the tests run that
should catch it, or with `--machine` the state machine. A NAME is any part of an error's name. This
takes minutes, so it is not part of the suite. The exit code is 1 if an error survives or cannot be
planted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests import (
    planted_fanout,
    planted_near_cache,
    planted_polling,
    planted_threshold,
    planted_tokens,
    planted_views,
)
from tests.planting import Edit, NotPlanted, Planted, plant

ERRORS = [
    *planted_views.VIEWS,
    *planted_fanout.FANOUT,
    *planted_views.READING,
    *planted_near_cache.NEAR_CACHE_BUDGET,
    *planted_fanout.PROMISES,
    *planted_polling.POLLING,
    *planted_threshold.THRESHOLD,
    *planted_tokens.TOKENS,
]

ROOT = Path(__file__).parents[1]
PARALLEL = 2
MACHINE = "tests/test_machine.py"
# The steps that lead to an error do not matter here, so Hypothesis need not shorten them.
UNSHRUNK = (
    Edit(MACHINE, "import HealthCheck, settings\n", "import HealthCheck, Phase, settings\n"),
    Edit(MACHINE, "database=None,", "database=None, phases=[Phase.generate],"),
)
# A test that fails in this way shows that the planted text itself is wrong.
BROKEN = re.compile(
    r"NameError|ImportError|SyntaxError|AttributeError|TypeError|ResponseError|Error compiling"
)


@dataclass(frozen=True)
class Verdict:
    error: Planted
    caught_by: str | None
    reason: str
    seconds: float


def main():
    options = _options()
    errors = [
        error
        for error in ERRORS
        if not options.names or any(name in error.name for name in options.names)
    ]
    verdicts = []
    with ThreadPoolExecutor(PARALLEL) as pool:
        running = [pool.submit(_judge, error, options) for error in errors]
        for done in as_completed(running):
            verdicts.append(done.result())
            _print_progress(verdicts, len(errors))
    verdicts.sort(key=lambda verdict: errors.index(verdict.error))
    _print_table(verdicts, why=options.why)
    return 0 if verdicts and all(verdict.caught_by for verdict in verdicts) else 1


def _options():
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="part of an error's name (default: all of them)"
    )
    parser.add_argument(
        "--machine", action="store_true", help="run the state machine instead of the named tests"
    )
    parser.add_argument(
        "--timeout", type=float, default=180, help="seconds for each error (default 180)"
    )
    parser.add_argument("--why", action="store_true", help="print how each test failed")
    return parser.parse_args()


def _judge(error, options):
    edits, tests = (
        ((*error.edits, *UNSHRUNK), (MACHINE,)) if options.machine else (error.edits, error.tests)
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fsplanted") as folder:
        copy = Path(folder)
        _copy_repository(copy)
        try:
            plant(copy, edits)
            database = {"FEEDSVC_TEST_DATABASE": "postgresql"} if error.needs_postgresql else {}
            caught_by, reason = _first_failure(copy, tests, database, options.timeout)
        except NotPlanted as stale:
            caught_by, reason = None, str(stale)
    return Verdict(error, caught_by, reason, time.monotonic() - started)


def _copy_repository(folder):
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def _first_failure(folder, tests, database, timeout):
    """Return the first test that fails and its reason, or None and the reason of the survival."""
    options = ["-x", "-q", "--tb=short", "-rf", "-pno:cacheprovider", "-pno:xdist"]
    environment = {**os.environ, **database, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"the tests did not end within {timeout:g} s"
    failed = re.search(r"^FAILED (\S+?)(?: - (.*))?$", run.stdout, re.MULTILINE)
    if failed is None and run.returncode == 0:
        return None, "every test passed"
    if failed is None:
        return None, f"the tests could not run: {run.stdout[-500:]}{run.stderr[-500:]}"
    reason = failed[2] or ""
    if BROKEN.search(reason):
        return None, f"the planted text is broken: {reason}"
    return failed[1], reason


def _print_progress(verdicts, count):
    caught = sum(verdict.caught_by is not None for verdict in verdicts)
    line = (
        f"{len(verdicts)} of {count} planted: {caught} caught, "
        f"{len(verdicts) - caught} survived (last: {verdicts[-1].error.name})"
    )
    print(
        f"\r\033[K{line}" if sys.stderr.isatty() else line,
        end="" if sys.stderr.isatty() else "\n",
        file=sys.stderr,
        flush=True,
    )


def _print_table(verdicts, *, why):
    if sys.stderr.isatty():
        print(file=sys.stderr)
    width = max((len(verdict.error.name) for verdict in verdicts), default=0)
    for verdict in verdicts:
        outcome = verdict.caught_by or f"SURVIVED: {verdict.reason}"
        print(f"{verdict.error.name:{width}}  {verdict.seconds:5.1f} s  {outcome}")
        if why and verdict.caught_by:
            print(f"{'':{width}}           {verdict.reason}")


if __name__ == "__main__":
    sys.exit(main())
