"""The sorted set `recent-celebrity-posts`: the latest puts onto any celebrity list, by which a process keeps its copies of them exact.

A put writes the list, then `celebrities`, then this set. So what was read of those two after a number was known here lacks nothing
up to that number, and whoever is told of every put since has it all. An edited or deleted post is told here in the same way, once
its bytes are dropped, for the posts' bytes that a process holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from feedsvc.store.redis.keys import RECENT
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.redis.scripts import OPEN_RECENT, PUT_RECENT, fresh_token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer

    Entries = Sequence[tuple[bytes, float]]

T = TypeVar("T")

# In place of a post: the whole list was made anew, and copies of it say nothing any more.
WHOLE_LIST = 0

# In place of an author: the bytes of this post have changed; of any posts, if there is none.
NO_AUTHOR = 0
ANY_POSTS = 0
_FEW_POSTS = 16

# A process that asks nothing while so many posts are put copies everything again.
_KEPT = 1_000


class Invalidation(NamedTuple):
    """One put."""

    number: int
    author: int
    post_id: int


def add_put(trip: RoundTrip, author: int, post_id: int) -> None:
    """Add a put to the set, behind those that wrote the list and `celebrities`."""
    trip.script(PUT_RECENT, [RECENT], author, post_id, fresh_token(), _KEPT)


def tell_of_changed_posts(redis: Redis, post_ids: Sequence[int]) -> None:
    """Tell that these posts were edited or deleted, behind whatever dropped their bytes."""
    trip = RoundTrip(redis)
    for post_id in post_ids if len(post_ids) <= _FEW_POSTS else (ANY_POSTS,):
        add_put(trip, NO_AUTHOR, post_id)
    trip.run()


def latest(redis: Redis) -> tuple[bytes, int]:
    """The set's marker and the number of the latest put; a set that was lost begins anew."""
    marker, number = OPEN_RECENT.run(redis, [RECENT], fresh_token())
    return marker, int(number)


def ask(trip: RoundTrip, number: int, parse: Callable[[Entries], T]) -> Answer[T]:
    """Ask for the entries above a number."""
    bounds = (f"({number}", "inf")
    return trip.ask("ZRANGEBYSCORE", RECENT, *bounds, "WITHSCORES", withscores=True, parse=parse)


def news(answer: Entries, marker: bytes, number: int) -> list[Invalidation] | None:
    """The puts in an answer, in their order; None if any after this number may be missing: the set is another one, or was trimmed."""
    if not answer or answer[-1] != (marker, math.inf):
        return None
    puts = [Invalidation(*map(int, member.split(b":"))) for member, _ in answer if b":" in member]
    return puts if not puts or puts[0].number == number + 1 else None
