"""The Celery application: six tasks, each of which calls one function. Tasks carry ids, in JSON, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery

from feedsvc.fanout import chain, micro_batches
from feedsvc.fanout import sweep as sweeping
from feedsvc.inspection import audit as auditing
from feedsvc.planning import guard
from feedsvc.planning.survey import survey
from feedsvc.posts import idempotency

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.fanout.chain import Enqueue
    from feedsvc.metrics import Metrics
    from feedsvc.store import Stores

# Above this many followers a fan-out is more than a link of the default size and goes to the queue of large ones.
LARGE = 10_000
# Accounts drawn for each audit: what goes wrong with one feed in a hundred is found within minutes, and the one worker that a
# small installation has is kept from its fan-outs for 0.4 s (short feeds) to 2.5 s (full ones) of every minute, as measured.
AUDITED_ACCOUNTS = 100
FANOUT_QUEUE = "feedsvc.fanout"
LARGE_QUEUE = "feedsvc.fanout-large"
SWEEP_QUEUE = "feedsvc.sweep"
_ROUND = "feedsvc.fanout.micro_batches"
QUEUES = (SWEEP_QUEUE, FANOUT_QUEUE, LARGE_QUEUE)


def make_celery(stores: Stores, broker_url: str, metrics: Metrics) -> Celery:
    """A Celery application on this broker, whose tasks work on these stores and count here. It becomes nobody's current or default one."""
    app = Celery("feedsvc", broker=broker_url, set_as_current=False)
    app.config_from_object("celeryconfig")
    enqueue = enqueuer(app, stores)

    def task(name: str) -> Callable[[Callable[..., None]], Any]:
        def register(work: Callable[..., None]) -> Any:
            def run(*ids: Any) -> None:
                work(*ids)
                stores.usage.hand_over(stores.redis)

            # Not shared: Celery would give the tasks of the first application of a process to every other one.
            return app.task(name=name, shared=False)(run)

        return register

    @task("feedsvc.fanout.link")
    def link(post_id: int, generation: int, cursor: str) -> None:
        chain.run_link(stores, enqueue, post_id, generation, cursor)

    @task(_ROUND)
    def small_fanouts() -> None:
        if micro_batches.run_round(stores):
            app.send_task(_ROUND, queue=FANOUT_QUEUE)

    @task("feedsvc.sweep")
    def sweep() -> None:
        sweeping.sweep(stores, enqueue, lambda: _queued(app))
        idempotency.remove_expired(stores)

    _register_looks(task, stores, metrics)
    return app


def _register_looks(
    task: Callable[[str], Callable[[Callable[..., None]], Any]], stores: Stores, metrics: Metrics
) -> None:
    """The tasks that only look: at feeds, at the guardrails, at what the cost model is fed with."""

    @task("feedsvc.audit")
    def audit() -> None:
        found = auditing.audit(stores, AUDITED_ACCOUNTS)
        metrics.audit_feeds.inc(found.stored)
        metrics.audit_missing.inc(len(found.missing))
        metrics.audit_extra.inc(len(found.extra))
        metrics.audit_twice.inc(found.twice)

    @task("feedsvc.guard")
    def look() -> None:
        guard.look(stores)

    @task("feedsvc.planning.survey.aggregates")
    def threshold_inputs() -> None:
        survey.refresh_if_old(stores)


def _queued(app: Celery) -> int:
    """How many messages of fan-outs wait for a worker. Raises what the broker raises when it is down."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        declare: Any = channel.queue_declare  # type: ignore[attr-defined] # each transport's channel has one
        return sum(
            declare(queue, durable=True, auto_delete=False).message_count
            for queue in (FANOUT_QUEUE, LARGE_QUEUE)
        )


def enqueuer(app: Celery, stores: Stores) -> Enqueue:
    """What sends the link of a fan-out to the workers; the first link of a small one asks for a round of small ones instead."""

    def enqueue(post_id: int, generation: int, cursor: str, followers: int) -> None:
        if generation == 0 and micro_batches.is_small(stores, followers):
            if micro_batches.ask(stores):
                app.send_task(_ROUND, queue=FANOUT_QUEUE, countdown=micro_batches.GATHER_SECONDS)
            return
        queue = LARGE_QUEUE if followers > LARGE else FANOUT_QUEUE
        app.send_task("feedsvc.fanout.link", (post_id, generation, cursor), queue=queue)

    return enqueue
