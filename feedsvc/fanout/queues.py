"""Sending fan-outs to the workers.

A large fan-out has a queue of its own, so that a small one never waits behind it. A small fan-out
is not sent by itself: it waits in SQL for the next micro-batch, which one upload requests for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from feedsvc.store.redis import keys

if TYPE_CHECKING:
    from celery import Celery

    from feedsvc.store import Stores

FANOUT_QUEUE = "feedsvc.fanout"
LARGE_QUEUE = "feedsvc.fanout-large"
LINK_TASK = "feedsvc.fanout.link"
MICRO_BATCH_TASK = "feedsvc.fanout.small"

# A fan-out to more followers than this goes to the queue of large ones: it is more than one link of
# the default size.
LARGE = 10_000
# How long a requested micro-batch waits for more posts. They are still young when it begins
# (`slices`). docs/decisions/0015 has the gain and the cost of the wait.
GATHER_SECONDS = 0.5
# A request whose micro-batch was lost expires after this long, so that the next upload requests
# another.
_REQUEST_SECONDS = 2


class Enqueue(Protocol):
    """Sends the link of a fan-out that starts at a cursor to the workers."""

    def __call__(self, post_id: int, generation: int, cursor: str, followers: int) -> None:
        """Send the link. Raises the error of the broker's client if the broker is down."""


def enqueuer(app: Celery, stores: Stores) -> Enqueue:
    """Return the function that sends links to the workers.

    In place of the first link of a small fan-out it requests a micro-batch.
    """

    def enqueue(post_id: int, generation: int, cursor: str, followers: int) -> None:
        if generation == 0 and followers <= stores.limits.fanout_slice:
            if request_micro_batch(stores):
                app.send_task(MICRO_BATCH_TASK, queue=FANOUT_QUEUE, countdown=GATHER_SECONDS)
            return
        queue = LARGE_QUEUE if followers > LARGE else FANOUT_QUEUE
        app.send_task(LINK_TASK, (post_id, generation, cursor), queue=queue)

    return enqueue


def request_micro_batch(stores: Stores) -> bool:
    """Set the request flag. Returns True if it was not set: the caller enqueues the micro-batch."""
    return bool(stores.redis.set(keys.SMALL_FANOUTS, 1, nx=True, ex=_REQUEST_SECONDS))


def clear_request(stores: Stores) -> None:
    """Clear the request flag, so that the next upload requests another micro-batch."""
    stores.redis.delete(keys.SMALL_FANOUTS)
