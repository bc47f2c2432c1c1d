"""How a worker takes messages from the broker, where Celery's own way does not serve."""

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
    """Celery's consumer. It also finds the quorum queues of RabbitMQ.

    A quorum queue refuses a limit on unacknowledged messages that counts for the whole worker. It
    takes one for each queue. Celery does so if the declaration of a queue says that it is a quorum
    queue. RabbitMQ also makes one where the virtual host says so.
    """

    def connect(self) -> Any:
        """Return a connection to the broker, and declare its quorum queues as such from now on."""
        connection = super().connect()
        if connection.transport.driver_type == "amqp":
            for queue in self.app.amqp.queues.consume_from.values():
                if _is_quorum(self.app, queue):
                    queue.queue_arguments = {"x-queue-type": "quorum"}
        return connection


def wait_and_run(task: Any, app: Celery, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Return how a worker takes a message of a micro-batch: it waits if the message says so.

    Celery's own `countdown` sends a time of the sender's clock. This waits by the worker's. A
    message that waits is not counted among those that the worker may hold.
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
    """Begin to consume the queue, and stop at once. A message that came meanwhile goes back.

    A refusal ends the connection, so this is a connection of its own.
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
