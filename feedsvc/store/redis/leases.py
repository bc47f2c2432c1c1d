"""Leased strings: a view is absent, being built under a token, or valid.

A reader that finds no view takes a token. Only then it reads SQL, in a new transaction. It may
store the value as long as the view has the same token. A change deletes the view after its commit,
and the token with it. So a value that was read before a change does not outlive the deletion that
follows the change (the leases of *Scaling Memcache at Facebook*, NSDI 2013).

A reader that finds another reader's token builds the view under that token. It need not wait for a
reader that may have died.

A server that refuses writes gives no lease. The reader then builds the view for itself, and stores
nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from feedsvc.store.redis.faults import WriteRefused
from feedsvc.store.redis.round_trip import RoundTrip, fresh_token, read_strings
from feedsvc.store.redis.scripts import DROP_LEASE, STORE_LEASED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer

_VALID = b"="
_BUILDING = b"?"
_LEASE_SECONDS = 30


def valid(raw: bytes | str | None) -> bytes | None:
    """Return the value in an answer of GET; None if the view is absent or being built."""
    return raw[1:] if isinstance(raw, bytes) and raw.startswith(_VALID) else None


def read_or_build(
    redis: Redis,
    keys: Sequence[str],
    build: Callable[[list[int]], Sequence[bytes | None]],
    ttl_seconds: int,
) -> list[bytes | None]:
    """Return the values of views, and store the values that had to be built.

    `build` gets the indexes of the views that are not valid. It returns their values, read from SQL
    in a new transaction. None means that SQL has nothing for the view. Redis then stores nothing,
    so that invented ids cannot fill it.
    """
    found = _read_or_lease(redis, keys)
    values = {index: valid(raw) for index, raw in enumerate(found)}
    missing = [index for index, value in values.items() if value is None]
    if missing:
        trip = RoundTrip(redis)
        for index, value in zip(missing, build(missing), strict=True):
            values[index] = value
            lease = found[index]
            if lease is not None and value is None:
                trip.script(DROP_LEASE, [keys[index]], lease)
            elif lease is not None and value is not None:
                trip.script(STORE_LEASED, [keys[index]], lease, _VALID + value, ttl_seconds)
        with suppress(WriteRefused):  # the reader has its values
            trip.run()
    return list(values.values())


def _read_or_lease(redis: Redis, keys: Sequence[str]) -> list[bytes | None]:
    """Return for each view its value or its lease: a new lease if the view was absent.

    None means that the view is absent and Redis refuses the lease.
    """
    lease = _BUILDING + fresh_token().encode()
    trip = RoundTrip(redis)
    found: list[Answer[bytes | None]] = [
        trip.ask("SET", key, lease, "EX", _LEASE_SECONDS, "NX", "GET", get=True) for key in keys
    ]
    try:
        trip.run()
    except WriteRefused:
        return read_strings(redis, keys)
    return [lease if answer.value is None else answer.value for answer in found]
