"""Run one Celery process: `python -m feedsvc.supervise.celery_process worker NAME` or `… beat`.

A worker runs its tasks in its one thread. A link of a chain is short, more workers are more
processes, and there is no pool with processes that could outlive their parent.
"""

from __future__ import annotations

import os
import sys

from feedsvc import logs
from feedsvc.services import open_services
from feedsvc.settings import load_settings
from feedsvc.supervise.children import end_with_parent

# Readers come first: a post is in every feed before it is pushed (docs/decisions/0013).
_NICENESS = 10


def main() -> None:
    """Run until a signal ends the process; tasks that have begun are finished first."""
    end_with_parent(os.getppid())
    logs.configure()
    role, *name = sys.argv[1:]
    services = open_services(load_settings())
    if role == "beat":
        services.celery.Beat(scheduler_cls="celery.beat:Scheduler", loglevel="WARNING").run()
        return
    os.nice(_NICENESS)
    options = [
        "--pool=solo",
        f"--hostname={name[0]}@%h",
        "--loglevel=WARNING",
    ]
    services.celery.worker_main(["worker", *options, "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    main()
