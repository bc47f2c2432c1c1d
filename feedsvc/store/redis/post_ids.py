"""The hash `post-ids`: the highest id of a post, and the highest watermark of any process.

SQL has the highest id, too. But a database that fails over may lose its last commits, and with them
the ids of posts that a client has seen. The record in Redis still has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.store.redis.keys import POST_IDS
from feedsvc.store.redis.scripts import RAISE_POST_IDS

if TYPE_CHECKING:
    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer, RoundTrip


def ask_highest(trip: RoundTrip) -> Answer[int]:
    """Ask for the highest id on record, in a round trip; 0 if there is none."""
    return trip.ask("HGET", POST_IDS, "highest", parse=lambda found: int(found or 0))


def add_post(trip: RoundTrip, post_id: int) -> None:
    """Record the id of a post, in a round trip."""
    trip.script(RAISE_POST_IDS, [POST_IDS], post_id, 0)


def raise_watermark(redis: Redis, watermark: int) -> int:
    """Record the watermark of this process. Returns the highest one of any process."""
    return int(RAISE_POST_IDS.run(redis, [POST_IDS], 0, watermark))
