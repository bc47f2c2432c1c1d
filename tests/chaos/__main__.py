"""`make chaos`: real processes, real faults, every read checked. `--seed N` repeats a plan."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import run as running
from tests.chaos.faults import FAULTS, VALKEY
from tests.engines import Databases


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--operations", type=int, default=10_000, help="least number (default 10,000)"
    )
    parser.add_argument("--faults", type=int, default=200, help="least number (default 200)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(
        f"chaos with seed {options.seed}: PostgreSQL, RabbitMQ, Valkey, 2 web workers, "
        "3 Celery workers, beat, 6 clients"
    )
    with tempfile.TemporaryDirectory(prefix="fsd") as folder:
        databases = Databases(Path(folder), "postgresql")
        try:
            with databases.fresh() as url:
                outcome = running.run(
                    url,
                    seed=options.seed,
                    operations=options.operations,
                    faults=options.faults,
                    report=_report,
                )
        except AssertionError as error:
            print(f"\nWRONG: {error}\nto repeat: python -m tests.chaos --seed {options.seed}")
            return 1
        finally:
            databases.close()
    _print(outcome)
    return 0


def _report(line):
    print(
        f"{time.strftime('%H:%M:%S')}  {line}".ljust(100),
        end="\r" if sys.stdout.isatty() else "\n",
        flush=True,
    )


def _print(outcome):
    print(f"\n\n{'operation':<44}{'done':>8}")
    for kind, count in outcome.operations.most_common():
        print(f"  {kind:<42}{count:>8}")
    print(f"  {'all':<42}{outcome.operations.total():>8}\n\n{'fault':<44}{'done':>8}")
    for fault in FAULTS:
        print(f"  {fault:<42}{outcome.faults[fault]:>8}")
    print(f"  {'all':<42}{outcome.faults.total():>8}")
    print(f"  {'of these, Valkey':<42}{sum(outcome.faults[fault] for fault in VALKEY):>8}")
    print(f"\n{'requests that were repeated, by answer':<44}{outcome.repeats.total():>8}")
    for answer, count in sorted(outcome.repeats.items(), key=str):
        print(f"  {answer!s:<42}{count:>8}")
    print(
        f"\n{outcome.posts} posts, {outcome.fanouts} fan-outs done, 0 stuck; "
        f"{outcome.pages} pages judged; {outcome.minutes:.1f} minutes"
    )
    print(
        "0 posts lost, 0 twice, 0 extra; every feed equals the oracle's; "
        "the audit found no difference"
    )


if __name__ == "__main__":
    sys.exit(main())
