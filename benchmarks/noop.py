"""Celery tasks that do nothing: what the broker and Celery cost. `python -m benchmarks.noop NAME` is one of their workers."""

from __future__ import annotations

import os
import sys

from celery import Celery

TASK = "noop"


def make_celery(broker_url: str) -> Celery:
    """The application, with the service's own settings, on the broker's second database."""
    app = Celery(
        "noop", broker=broker_url.replace("virtual_host=0", "virtual_host=1"), set_as_current=False
    )
    app.config_from_object("celeryconfig")
    return app


def main() -> None:
    """Work until ended."""
    app = make_celery(os.environ["FEEDSVC_BROKER_URL"])

    @app.task(name=TASK)
    def do_nothing(number: int) -> None:
        pass

    app.worker_main(
        [
            "worker",
            "--pool=solo",
            f"--hostname={sys.argv[1]}@%h",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
        ]
    )


if __name__ == "__main__":
    main()
