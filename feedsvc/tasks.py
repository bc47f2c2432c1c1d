"""Define the Celery application and its six tasks.

The arguments of a task are plain JSON. The work is in other modules.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from celery import Celery

from feedsvc import celery_settings
from feedsvc.errors import FeedsvcError, StoreUnavailable
from feedsvc.fanout import broker, chain, micro_batches, queues
from feedsvc.fanout import sweep as fanout_sweep
from feedsvc.graph import deletion
from feedsvc.inspection.audit import audit
from feedsvc.planning import change, watch
from feedsvc.planning.survey import survey
from feedsvc.posts import idempotency
from feedsvc.redis_address import celery_broker
from feedsvc.routing import load_shedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.fanout.queues import Enqueue
    from feedsvc.fanout.sweep import Swept
    from feedsvc.metrics import Metrics
    from feedsvc.store import Stores

# Accounts in one audit. An audit runs every minute. If 1 % of all feeds have a fault, an audit
# finds one of them within minutes. One audit was measured at 0.4 s (short feeds) to 2.5 s (full
# feeds) of one worker's time.
AUDITED_ACCOUNTS = 100
# Celery calls the code that takes a message from the broker a strategy.
_MICRO_BATCH_STRATEGY = "feedsvc.fanout.consumer:wait_and_run"

_log = structlog.get_logger()


def celery_on(broker_url: str) -> Celery:
    """Return a Celery application on a broker, without tasks.

    It does not become the current or default application of the process.
    """
    url, tls_options = celery_broker(broker_url)
    app = Celery("feedsvc", broker=url, set_as_current=False)
    app.config_from_object(celery_settings.__name__)
    if tls_options is not None:
        app.conf.broker_use_ssl = tls_options
    return app


def make_celery(broker_url: str, stores: Callable[[], Stores], metrics: Metrics) -> Celery:
    """Return a Celery application on a broker.

    Each task asks `stores` for the stores of its process. The audit counts its findings in
    `metrics`.
    """
    app = celery_on(broker_url)

    def register(name: str, work: Callable[..., object], **options: Any) -> None:
        def run(*arguments: Any) -> None:
            try:
                opened = stores()
                work(opened, *arguments)
                # Adds this process's processor time to the usage figures in Redis.
                opened.usage.hand_over(opened.redis)
            except StoreUnavailable as error:
                # The sweep repeats the work once the store is back.
                _log.warning(
                    "task.store_unavailable", task=name, store=error.store, cause=error.cause
                )
            except FeedsvcError as error:
                # A store refuses this process, which opens the stores at its first task.
                _log.error("task.refused", task=name, cause=" ".join(error.lines))

        # Not shared: Celery would give a shared task to every other application of the process.
        task: Any = app.task(name=name, shared=False, **options)
        task(run)

    def run_link(opened: Stores, post_id: int, generation: int, cursor: str) -> None:
        chain.run_link(opened, queues.enqueuer(app, opened), post_id, generation, cursor)

    def run_micro_batch(opened: Stores) -> None:
        if micro_batches.run(opened):
            queues.send_micro_batch(app, wait=False)

    def run_sweep(opened: Stores) -> None:
        sweep(opened, queues.enqueuer(app, opened), lambda: _queued(app))
        metrics.sweeps.inc()

    register(queues.LINK_TASK, run_link)
    register(queues.MICRO_BATCH_TASK, run_micro_batch, Strategy=_MICRO_BATCH_STRATEGY)
    register("feedsvc.sweep", run_sweep)
    register("feedsvc.audit", partial(_audit, metrics))
    register("feedsvc.guard", _guard)
    register("feedsvc.threshold.inputs", survey.refresh_if_old)
    return app


def sweep(stores: Stores, enqueue: Enqueue, queued: Callable[[], int] = lambda: 0) -> Swept:
    """Repair the damage of crashes and lost messages, and remove what has expired.

    `queued` returns how many messages wait for a worker: a long queue gets no more of them.
    """
    swept = fanout_sweep.sweep(stores, enqueue, queued)
    deletion.sweep(stores)
    idempotency.remove_expired(stores)
    stores.sql.empty_log()
    return swept


def _guard(stores: Stores) -> None:
    load_shedding.adjust(stores)
    change.roll_back_if_broken(stores)
    watch.measure_due(stores)


def _audit(metrics: Metrics, stores: Stores) -> None:
    found = audit(stores, AUDITED_ACCOUNTS)
    metrics.audit_feeds.inc(found.stored)
    metrics.audit_missing.inc(len(found.missing))
    metrics.audit_extra.inc(len(found.extra))
    metrics.audit_twice.inc(found.twice)


def _queued(app: Celery) -> int:
    """Return how many fan-out messages are waiting for a worker. Raises `StoreUnavailable`."""
    with broker.errors_named(), app.connection_for_write() as connection:
        return sum(broker.count_waiting(connection, queue) for queue in queues.FANOUT_QUEUES)
