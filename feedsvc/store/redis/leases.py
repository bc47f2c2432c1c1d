"""Leased strings: a view is absent, being built under a token, or valid.

A reader that finds none takes a token, and only then reads SQL, in a new transaction; it may store what it read as long as its
token stands. A change deletes the view after its commit, and the token with it. So no reader ever stores what it read before a
change (the leases of *Scaling Memcache at Facebook*, NSDI 2013). A reader that finds another's token adopts it: a builder that
died holds nobody up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.redis.scripts import STORE_LEASED, fresh_token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer

_VALID = b"="
_BUILDING = b"?"
_LEASE_SECONDS = 30


def valid(raw: bytes | str | None) -> bytes | None:
    """The value in what GET or MGET returned; None if the view is absent or being built."""
    return raw[1:] if isinstance(raw, bytes) and raw.startswith(_VALID) else None


def read_or_build(
    redis: Redis,
    keys: Sequence[str],
    build: Callable[[list[int]], Sequence[bytes]],
    ttl_seconds: int,
) -> list[bytes]:
    """The values of these views. `build` gets the indexes of those that are not valid and returns their values, read from SQL now."""
    held = _take(redis, keys)
    values = [valid(raw) for raw in held]
    missing = [index for index, value in enumerate(values) if value is None]
    if missing:
        built = build(missing)
        leases = [held[index] for index in missing]
        _store(redis, [keys[index] for index in missing], leases, built, ttl_seconds)
        for index, value in zip(missing, built, strict=True):
            values[index] = value
    return [value for value in values if value is not None]


def _take(redis: Redis, keys: Sequence[str]) -> list[bytes]:
    """What stands in each view now: a value, or a lease (a fresh one of ours where there was nothing)."""
    lease = _BUILDING + fresh_token().encode()
    trip = RoundTrip(redis)
    found: list[Answer[bytes | None]] = [
        trip.ask("SET", key, lease, "EX", _LEASE_SECONDS, "NX", "GET", get=True) for key in keys
    ]
    trip.run()
    return [lease if answer.value is None else answer.value for answer in found]


def _store(
    redis: Redis,
    keys: Sequence[str],
    leases: Sequence[bytes],
    values: Sequence[bytes],
    ttl_seconds: int,
) -> None:
    trip = RoundTrip(redis)
    for key, lease, value in zip(keys, leases, values, strict=True):
        trip.script(STORE_LEASED, [key], lease, _VALID + value, ttl_seconds)
    trip.run()
