"""Send fan-outs to the workers.

The number of followers at the upload decides how a fan-out is sent:

- Up to `fanout_slice` (250 by default): the fan-out is small. It has no message of its own and
  waits in SQL for the next micro-batch. The first upload that finds no request set sends one
  message to `SMALL_QUEUE`. This message serves every small fan-out that waits.
- Up to `LARGE` (10,000): the fan-out has links in `FANOUT_QUEUE`.
- Above `LARGE`: the fan-out has links in `LARGE_QUEUE`. All large fan-outs share this queue, so a
  smaller fan-out never waits behind one.

A fan-out of at least four batches (40,000 followers by default) is also divided into lanes
(`lanes.count`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from feedsvc.fanout.broker import errors_named
from feedsvc.store.redis import keys

if TYPE_CHECKING:
    from celery import Celery

    from feedsvc.store import Stores

SWEEP_QUEUE = "feedsvc.sweep"
FANOUT_QUEUE = "feedsvc.fanout"
LARGE_QUEUE = "feedsvc.fanout-large"
# Micro-batches have a queue of their own, because a message that waits may hold up its queue.
SMALL_QUEUE = "feedsvc.fanout-small"
FANOUT_QUEUES = (FANOUT_QUEUE, LARGE_QUEUE, SMALL_QUEUE)
QUEUES = (SWEEP_QUEUE, *FANOUT_QUEUES)
LINK_TASK = "feedsvc.fanout.link"
MICRO_BATCH_TASK = "feedsvc.fanout.small"

# In followers. A fan-out with more goes to `LARGE_QUEUE`. The default batch has 10,000 followers,
# so such a fan-out needs several links.
LARGE = 10_000
# In a message of a micro-batch: whether it waits before it begins.
WAIT_HEADER = "feedsvc-wait"
# How long a requested micro-batch waits for more posts. The wait is shorter than
# `slices.YOUNG_SECONDS` (1.0 s), so a micro-batch that begins on time delivers its posts at full
# speed. docs/decisions/0015 has the gain and the cost of the wait.
GATHER_SECONDS = 0.5
# The request flag expires after this long, which is four times `GATHER_SECONDS`. If the micro-batch
# was lost, the next upload then requests another.
_REQUEST_SECONDS = 2


class Enqueue(Protocol):
    """Sends the workers one link of a fan-out. The link starts at `cursor`."""

    def __call__(self, post_id: int, generation: int, cursor: str, followers: int) -> None:
        """Send the link. Raises `StoreUnavailable` if the broker is away or refuses."""


def enqueuer(app: Celery, stores: Stores) -> Enqueue:
    """Return the function that sends links to the workers.

    For the first link of a small fan-out, the function requests a micro-batch instead.
    """

    def enqueue(post_id: int, generation: int, cursor: str, followers: int) -> None:
        if generation == 0 and followers <= stores.limits.fanout_slice:
            if request_micro_batch(stores):
                send_micro_batch(app, wait=True)
            return
        queue = LARGE_QUEUE if followers > LARGE else FANOUT_QUEUE
        with errors_named():
            app.send_task(LINK_TASK, (post_id, generation, cursor), queue=queue)

    return enqueue


def send_micro_batch(app: Celery, *, wait: bool) -> None:
    """Send a micro-batch. A worker begins it at once, or waits for `GATHER_SECONDS` first.

    Raises `StoreUnavailable` if the broker is away or refuses.
    """
    with errors_named():
        app.send_task(MICRO_BATCH_TASK, queue=SMALL_QUEUE, headers={WAIT_HEADER: wait})


def request_micro_batch(stores: Stores) -> bool:
    """Set the request flag.

    Returns True if the flag was not set before. The caller then has to enqueue the micro-batch.
    """
    return bool(stores.redis.set(keys.SMALL_FANOUTS, 1, nx=True, ex=_REQUEST_SECONDS))


def clear_request(stores: Stores) -> None:
    """Clear the request flag, so that the next upload requests another micro-batch."""
    stores.redis.delete(keys.SMALL_FANOUTS)
