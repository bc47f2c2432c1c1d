"""What a task's message costs: sent as an upload sends it, taken and acknowledged as a worker does."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from feedsvc.planning.calibration.meter import spaced

if TYPE_CHECKING:
    from celery import Celery

_MESSAGES = 20
_SECONDS = 30
# A worker does more with a message than take it: it wakes up, decodes, traces, logs; and the broker does its part. Tasks that did next to
# nothing, sent 20 and 50 ms apart to two waiting workers (Redis broker), cost so many times what is measured here in the cheapest of eight
# runs; in the dearest, twice as much as is measured here.
_WHOLE = 1.36


def message_us(celery: Celery) -> float:
    """Microseconds of processor time for one message, the broker's included, through a queue that lives as long as this takes."""
    queue = f"feedsvc.calibration-{os.getpid()}"
    began = time.process_time()
    with celery.connection_for_write() as connection:
        producer = celery.amqp.Producer(connection)
        taken = connection.SimpleQueue(queue, queue_opts={"auto_delete": True, "expires": _SECONDS})
        try:
            for _ in spaced(range(_MESSAGES)):
                sent: Any = {"queue": taken.queue, "producer": producer, "expires": _SECONDS}
                celery.send_task("feedsvc.calibration", (1, 0, "0"), **sent)
                taken.get(timeout=_SECONDS).ack()
        finally:
            taken.close()  # RabbitMQ deletes the queue with its consumer; elsewhere it stays
            taken.queue.delete()
    return _WHOLE * (time.process_time() - began) / _MESSAGES * 1e6
