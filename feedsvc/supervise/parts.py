"""Run one part of the service in this process: the web server, a worker, or beat.

`up` runs the same parts as its children. A part that was started alone may share the data folder of
a running `up`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import warnings
from contextlib import closing
from typing import TYPE_CHECKING

import structlog
from celery.exceptions import SecurityWarning
from celery.signals import worker_process_init
from celery.utils.nodenames import nodename

from feedsvc.errors import StoreUnavailable
from feedsvc.fanout import broker
from feedsvc.front.listening import free_port
from feedsvc.services import open_services
from feedsvc.settings import load_settings
from feedsvc.store.sql.faults import is_refusal
from feedsvc.supervise.children import end_with_parent, end_with_up
from feedsvc.supervise.web import serve

if TYPE_CHECKING:
    from celery import Celery

# Workers yield the processor to web processes, because a post is in every feed before it is pushed
# (docs/decisions/0013).
_NICENESS = 10
_PAUSE_SECONDS = 1.0

_log = structlog.get_logger()


def run_web(host: str, port: int, processes: int) -> int:
    """Serve HTTP until a signal, and return the exit code.

    This process opens the services before it starts the web processes, so that a fault is printed
    once. It also starts the embedded Valkey if no other process runs it. Raises `FeedsvcError` if
    the service cannot start.
    """
    end_with_up()
    port = free_port(host, port)
    with closing(open_services(load_settings(for_tokens=True))) as services:
        services.stores.close()  # each web process opens its own
        return serve(host, port, processes)


def run_worker(name: str | None, concurrency: int) -> int:
    """Run a worker until a signal ends it, and return its exit code. Running tasks are finished.

    `concurrency` is the number of processes that run tasks. Raises `FeedsvcError` if the settings
    are wrong, or if the broker or a store refuses the service. It waits for a store that is away.
    """
    end_with_up()
    signal.signal(signal.SIGTERM, _exit)  # until Celery handles it
    app = _checked_app()
    _wait_for_stores()
    os.nice(_NICENESS)
    worker_process_init.connect(_end_with_worker)
    with warnings.catch_warnings():
        # Celery warns root, because messages could carry code. Ours are JSON: `accept_content`.
        warnings.simplefilter("ignore", SecurityWarning)
        worker = app.Worker(
            hostname=nodename(name or f"worker-{os.getpid()}", socket.gethostname()),
            pool_cls="solo" if concurrency == 1 else "prefork",
            concurrency=concurrency,
            loglevel="WARNING",
            quiet=True,
            without_gossip=True,
            without_mingle=True,
        )
    worker.start()
    return int(worker.exitcode or 0)


def run_beat() -> None:
    """Run beat, which starts the sweep and the other periodic tasks, until a signal ends it."""
    end_with_up()
    _checked_app().Beat(loglevel="WARNING", quiet=True).run()


def _checked_app() -> Celery:
    # The import reads the settings, because `celery -A` needs an application in the module.
    from feedsvc.celery import app  # noqa: PLC0415 -- see above

    broker.require(app)
    return app


def _wait_for_stores() -> None:
    """Return when both stores answer. Raises `FeedsvcError` if one of them will not."""
    from feedsvc.celery import check_stores  # noqa: PLC0415 -- see `_checked_app`

    while True:
        try:
            check_stores()
        except StoreUnavailable as error:
            if error.store == "database" and is_refusal(error.cause):
                raise
            _log.warning("worker.waits_for_store", store=error.store, cause=error.cause)
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _exit(*_: object) -> None:
    sys.exit(0)


def _end_with_worker(**_: object) -> None:
    """End a process of the pool when its worker ends, even if the worker is killed."""
    end_with_parent(os.getppid())
