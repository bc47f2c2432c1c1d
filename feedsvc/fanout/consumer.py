"""Adapt Celery's consumer to its event loop, quorum queues, refusals, and micro-batches."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from amqp.exceptions import PreconditionFailed
from celery.exceptions import WorkerShutdown
from celery.worker.consumer import Consumer as CelerysConsumer
from celery.worker.strategy import default as default_strategy

from feedsvc.fanout.broker import ADVICE, cause_of, is_refusal
from feedsvc.fanout.queues import GATHER_SECONDS, WAIT_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

_QUORUM = {"x-queue-type": "quorum"}

_log = structlog.get_logger()


class Consumer(CelerysConsumer):
    """Celery's consumer. It also works with a virtual host whose default queues are quorum queues.

    A quorum queue refuses a prefetch limit for the whole worker, and accepts one for each queue.
    Celery sends the accepted kind only if the declaration of a queue names the type `quorum`. The
    declarations here name no type, so that the virtual host decides. So this consumer detects the
    type.
    """

    def start(self) -> None:
        """Consume until the worker ends.

        A broker that refuses ends the worker with exit code 1. The service manager starts it again.
        """
        hub = self.hub  # type: ignore[attr-defined]  # a pool of threads has none
        if hub is not None:
            hub.on_tick.add(partial(poll_again, hub))
        try:
            super().start()
        except Exception as error:
            if not is_refusal(error):
                raise
            _log.error("worker.broker_refuses", cause=cause_of(error), advice=ADVICE)
            raise WorkerShutdown(1) from None

    def connect(self) -> Any:
        """Return a connection to the broker. Mark the quorum queues in their declarations."""
        connection = super().connect()
        if connection.transport.driver_type == "amqp":
            for queue in self.app.amqp.queues.consume_from.values():
                if _is_quorum(connection, queue):
                    queue.queue_arguments = _QUORUM
        return connection


def poll_again(hub: Any) -> None:
    """Let the next poll of Celery's event loop return at once if callbacks are ready.

    A callback that another one has added waits for the next round. Kombu 5.7 polls before that, for
    up to two seconds. The callback may be an acknowledgement. A worker that takes one message at a
    time then gets no message that would end the poll, and stands still
    (https://github.com/celery/celery/issues/7718). The hub calls this before each poll.
    """
    if hub._ready:  # noqa: SLF001 -- Kombu has no other name for them
        hub._waker.wake()  # noqa: SLF001


def wait_and_run(task: Any, app: Celery, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Return the function that takes a message of a micro-batch, a strategy in Celery's terms.

    A message with `WAIT_HEADER` is run after `GATHER_SECONDS`. Celery's own `countdown` would send
    a time of the sender's wall clock. A waiting message does not count against the prefetch limit.
    """
    take = default_strategy(task, app, consumer, **options)

    def take_now(*message: Any) -> None:
        take(*message)
        consumer.qos.decrement_eventually()

    def take_after_wait(message: Any, *rest: Any) -> None:
        if not message.headers.get(WAIT_HEADER):
            take(message, *rest)
            return
        consumer.qos.increment_eventually()
        consumer.timer.call_after(GATHER_SECONDS, take_now, (message, *rest))

    return take_after_wait


def _is_quorum(connection: Any, queue: Any) -> bool:
    """Declare the queue, and return whether it is a quorum queue.

    The broker refuses to declare a queue again with another type, and closes the channel.
    """
    with connection.channel() as channel:
        queue(channel).declare()
        try:
            channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=_QUORUM)
        except PreconditionFailed:
            return False
    return True
