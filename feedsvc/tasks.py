"""Define the Celery application and its six tasks.

The arguments of a task are plain JSON. The work is in other modules.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery

from feedsvc import celery_settings
from feedsvc.fanout import chain, micro_batches, queues
from feedsvc.fanout.queues import FANOUT_QUEUE, LARGE_QUEUE
from feedsvc.fanout.sweep import sweep
from feedsvc.inspection.audit import audit
from feedsvc.planning import change, watch
from feedsvc.planning.survey import survey
from feedsvc.posts import idempotency
from feedsvc.routing import load_shedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.metrics import Metrics
    from feedsvc.store import Stores

# Accounts in one audit. An audit runs every minute. If 1 % of all feeds have a fault, an audit
# finds one of them within minutes. One audit was measured at 0.4 s (short feeds) to 2.5 s (full
# feeds) of one worker's time.
AUDITED_ACCOUNTS = 100


def celery_on(broker_url: str) -> Celery:
    """Return a Celery application on a broker, without tasks.

    It does not become the current or default application of the process.
    """
    app = Celery("feedsvc", broker=broker_url, set_as_current=False)
    app.config_from_object(celery_settings.__name__)
    return app


def make_celery(stores: Stores, broker_url: str, metrics: Metrics) -> Celery:
    """Return a Celery application on a broker.

    The tasks use `stores`. The audit counts its findings in `metrics`.
    """
    app = celery_on(broker_url)
    enqueue = queues.enqueuer(app, stores)

    def register(name: str, work: Callable[..., object]) -> None:
        def run(*arguments: Any) -> None:
            work(*arguments)
            # Adds this process's processor time to the usage figures in Redis.
            stores.usage.hand_over(stores.redis)

        # Not shared: Celery would give a shared task to every other application of the process.
        app.task(name=name, shared=False)(run)

    def run_micro_batch() -> None:
        if micro_batches.run(stores):
            app.send_task(queues.MICRO_BATCH_TASK, queue=FANOUT_QUEUE)

    def run_sweep() -> None:
        sweep(stores, enqueue, lambda: _queued(app))
        idempotency.remove_expired(stores)

    def run_guard() -> None:
        load_shedding.adjust(stores)
        change.roll_back_if_broken(stores)
        watch.measure_due(stores)

    register(queues.LINK_TASK, partial(chain.run_link, stores, enqueue))
    register(queues.MICRO_BATCH_TASK, run_micro_batch)
    register("feedsvc.sweep", run_sweep)
    register("feedsvc.audit", partial(_audit, stores, metrics))
    register("feedsvc.guard", run_guard)
    register("feedsvc.threshold.inputs", partial(survey.refresh_if_old, stores))
    return app


def _audit(stores: Stores, metrics: Metrics) -> None:
    found = audit(stores, AUDITED_ACCOUNTS)
    metrics.audit_feeds.inc(found.stored)
    metrics.audit_missing.inc(len(found.missing))
    metrics.audit_extra.inc(len(found.extra))
    metrics.audit_twice.inc(found.twice)


def _queued(app: Celery) -> int:
    """Return how many fan-out messages are waiting for a worker.

    Raises the error of the broker's client if the broker is down.
    """
    with app.connection_for_write() as connection, connection.channel() as channel:
        # Kombu's types lack `queue_declare`, but the channel of every transport has it.
        declare: Any = channel.queue_declare  # type: ignore[attr-defined]
        return sum(
            declare(queue, durable=True, auto_delete=False).message_count
            for queue in (FANOUT_QUEUE, LARGE_QUEUE)
        )
