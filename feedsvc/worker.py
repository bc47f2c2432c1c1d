"""The Celery application: two tasks, each of which calls one function. Tasks carry ids, in JSON, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Celery

from feedsvc.fanout import chain
from feedsvc.fanout import sweep as sweeping

if TYPE_CHECKING:
    from feedsvc.fanout.chain import Enqueue
    from feedsvc.store import Stores

# Above this many followers a fan-out is more than a link of the default size and goes to the queue of large ones.
LARGE = 10_000
FANOUT_QUEUE = "feedsvc.fanout"
LARGE_QUEUE = "feedsvc.fanout-large"
SWEEP_QUEUE = "feedsvc.sweep"
QUEUES = (SWEEP_QUEUE, FANOUT_QUEUE, LARGE_QUEUE)


def make_celery(stores: Stores, broker_url: str) -> Celery:
    """A Celery application on this broker, whose tasks work on these stores. It becomes nobody's current or default one."""
    app = Celery("feedsvc", broker=broker_url, set_as_current=False)
    app.config_from_object("celeryconfig")
    enqueue = enqueuer(app)

    @app.task(name="feedsvc.fanout.link")
    def link(post_id: int, generation: int, cursor: str) -> None:
        chain.run_link(stores, enqueue, post_id, generation, cursor)

    @app.task(name="feedsvc.sweep")
    def sweep() -> None:
        sweeping.sweep(stores, enqueue)

    return app


def enqueuer(app: Celery) -> Enqueue:
    """What sends the link of a fan-out to the workers."""

    def enqueue(post_id: int, generation: int, cursor: str, followers: int) -> None:
        queue = LARGE_QUEUE if followers > LARGE else FANOUT_QUEUE
        app.send_task("feedsvc.fanout.link", (post_id, generation, cursor), queue=queue)

    return enqueue
