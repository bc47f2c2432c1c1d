"""Celery's processes: `python -m feedsvc.supervise.work worker NAME` and `… beat`.

A worker runs its tasks in its one thread: a link of a chain is short, more workers are more processes, and there is no pool whose
processes could outlive their parent.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from feedsvc import logs
from feedsvc.services import open_services
from feedsvc.settings import load_settings
from feedsvc.supervise import orphans
from feedsvc.tasks import QUEUES

if TYPE_CHECKING:
    from celery import Celery


# Readers come first: a post is in every feed before it is pushed (docs/decisions/0013).
_NICENESS = 10


def main() -> None:
    """Work until told to stop; what is under way is finished first."""
    orphans.watch(os.getppid())
    logs.configure()
    role, *name = sys.argv[1:]
    services = open_services(load_settings())
    if role == "beat":
        services.celery.Beat(scheduler_cls="celery.beat:Scheduler", loglevel="WARNING").run()
    else:
        _work(services.celery, name[0])


def _work(celery: Celery, name: str) -> None:
    os.nice(_NICENESS)
    options = [
        "--pool=solo",
        f"--hostname={name}@%h",
        f"--queues={','.join(QUEUES)}",
        "--loglevel=WARNING",
    ]
    celery.worker_main(["worker", *options, "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    main()
