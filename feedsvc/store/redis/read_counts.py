"""`reads:<day>`: how often some viewers read, counted in the round trip that a read makes anyway.

A sixteenth of the viewers is counted, the same ones every day, chosen by a hash of their id: enough to know the mix of readers,
and about 4 MB a day for a million of them.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feedsvc.store import Stores
    from feedsvc.store.redis.round_trip import RoundTrip

# One viewer in so many is counted.
ONE_IN = 16

DAYS = 7
_DAY_SECONDS = 86_400
_TTL_SECONDS = (DAYS + 1) * _DAY_SECONDS
_SCANNED = 1_000


@dataclass(frozen=True)
class Reads:
    """The reads of those viewers that are counted, and since how many seconds."""

    by_viewer: Counter[int]
    seconds: float


def is_counted(viewer: int) -> bool:
    """Whether this viewer's reads are counted."""
    return place(viewer) % ONE_IN == 0


def place(viewer: int) -> int:
    """A stable number of a viewer, spread evenly: who has the lowest ones is a sample."""
    return zlib.crc32(str(viewer).encode())


def count(stores: Stores, trip: RoundTrip, viewer: int) -> None:
    """Queue the counting of one read, if the viewer is among those counted. Nobody needs the answers."""
    if is_counted(viewer):
        key = stores.keys.reads(stores.keys.bucket(viewer), _today())
        trip.ask("HINCRBY", key, viewer, 1)
        trip.ask("EXPIRE", key, _TTL_SECONDS, "NX")


def counted(stores: Stores) -> Reads:
    """What the last days' hashes hold, read in steps, so that no other command waits long."""
    found: Counter[int] = Counter()
    seconds = 0.0
    for key in _hashes(stores):
        left = stores.redis.ttl(key)
        # It expires so long after its first read: that tells when it began.
        seconds = max(seconds, _TTL_SECONDS - left if left > 0 else 0.0)
        for viewer, number in stores.redis.hscan_iter(key, count=_SCANNED):
            found[int(viewer)] += int(number)
    return Reads(found, seconds)


def _hashes(stores: Stores) -> Iterator[str]:
    today = _today()
    for bucket in range(stores.keys.buckets):
        for day in range(today - DAYS + 1, today + 1):
            yield stores.keys.reads(bucket, day)


def _today() -> int:
    return int(time.time()) // _DAY_SECONDS
