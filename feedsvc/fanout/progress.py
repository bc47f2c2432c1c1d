"""How far a fan-out is, as Redis has it beside the feeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from feedsvc.store.redis import keys
from feedsvc.store.redis.lists import START

if TYPE_CHECKING:
    from feedsvc.store.redis.client import Redis


@dataclass(frozen=True)
class Progress:
    """What Redis says: the cursor, and the counts that moved with it."""

    cursor: str
    delivered: int
    skipped: int
    batches: int


def read(redis: Redis, post_id: int) -> Progress:
    """The progress of a fan-out; the start, if there is none."""
    fields = cast("dict[bytes, bytes]", redis.hgetall(keys.fanout(post_id)))
    counts = (int(fields.get(name, 0)) for name in (b"delivered", b"skipped", b"batches"))
    return Progress(fields.get(b"cursor", START.encode()).decode(), *counts)
