"""Adapt Celery's consumer: detect quorum queues, and delay micro-batches by the worker's timer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqp.exceptions import AMQPNotImplementedError
from celery.worker.consumer import Consumer as CelerysConsumer
from celery.worker.strategy import default as default_strategy

from feedsvc.fanout.queues import GATHER_SECONDS, WAIT_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery


class Consumer(CelerysConsumer):
    """Celery's consumer. It also works with a virtual host whose default queues are quorum queues.

    A quorum queue refuses a prefetch limit for the whole worker, and accepts one for each queue.
    Celery sends the accepted kind only if the declaration of a queue names the type `quorum`. The
    declarations here name no type, so that the virtual host decides. So this consumer detects the
    type.
    """

    def connect(self) -> Any:
        """Return a connection to the broker. Mark the quorum queues in their declarations."""
        connection = super().connect()
        if connection.transport.driver_type == "amqp":
            for queue in self.app.amqp.queues.consume_from.values():
                if _is_quorum(self.app, queue):
                    queue.queue_arguments = {"x-queue-type": "quorum"}
        return connection


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


def _is_quorum(app: Celery, queue: Any) -> bool:
    """Return whether the queue is a quorum queue: it refuses a prefetch limit for a whole worker.

    The broker must be asked to consume, so a message may arrive. It returns to the queue when the
    connection closes. A refusal closes the connection, so the question has a connection of its own.
    """
    with app.connection_for_read() as connection:
        try:
            channel: Any = connection.default_channel
            queue(channel).declare()
            channel.basic_qos(0, 1, True)
            channel.basic_consume(queue.name, callback=lambda _: None)
        except AMQPNotImplementedError:
            return True
    return False
