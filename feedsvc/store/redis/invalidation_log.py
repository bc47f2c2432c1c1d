"""The invalidation log: the latest changes of celebrity lists and of post bodies.

A process keeps its near cache up to date with this log. The log is the sorted set
`recent-celebrity-posts`. Its entries are numbered without gaps.

A put writes the list first, then `celebrities`, then the log. Suppose that a process has applied
the log up to number n, and then reads a list. The list has every put up to n, and every later put
gets a number above n. An edit or a deletion drops the post's bytes first, then writes the log.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from feedsvc.store.redis.keys import INVALIDATION_LOG
from feedsvc.store.redis.round_trip import RoundTrip, fresh_token
from feedsvc.store.redis.scripts import LOG_INVALIDATION, OPEN_LOG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer

    # The members of the sorted set with their scores; the marker comes last.
    Entries = Sequence[tuple[bytes, float]]

T = TypeVar("T")

# Post id of an entry that drops each copy of the whole list. Only `celebrity_lists.renew` writes
# it.
WHOLE_LIST = 0

# Author id of an entry about a post's bytes, which have changed.
NO_AUTHOR = 0
# Post id of an entry with NO_AUTHOR: the bytes of any posts may have changed.
ANY_POSTS = 0
# Author ids of entries about an account. After the entry all its posts are hidden, or shown again.
# The post id of the entry is the account.
HIDDEN = -1
SHOWN = -2
# Up to this many changed posts have an entry each. More posts have one entry together.
_FEW_POSTS = 16

# A process that does not read while this many entries are added has to restart its near cache.
_MAX_ENTRIES = 1_000


class Invalidation(NamedTuple):
    """One entry of the log."""

    number: int
    author: int
    post_id: int

    @property
    def is_of_any_posts(self) -> bool:
        """Whether the bytes of any posts may have changed."""
        return self.author == NO_AUTHOR and self.post_id == ANY_POSTS


def hidden_after(hidden: frozenset[int], entries: Sequence[Invalidation]) -> frozenset[int]:
    """Return the hidden accounts after some entries of the log, in their order."""
    for entry in entries:
        if entry.author == HIDDEN:
            hidden |= {entry.post_id}
        elif entry.author == SHOWN:
            hidden -= {entry.post_id}
    return hidden


def add(trip: RoundTrip, author: int, post_id: int) -> None:
    """Add an entry in a round trip, behind the stage that wrote the list and `celebrities`."""
    args = (author, post_id, fresh_token(), _MAX_ENTRIES)
    trip.script(LOG_INVALIDATION, [INVALIDATION_LOG], *args)


def add_changed_posts(redis: Redis, post_ids: Sequence[int]) -> None:
    """Log that posts were edited or deleted, after their bytes were dropped."""
    trip = RoundTrip(redis)
    for post_id in post_ids if len(post_ids) <= _FEW_POSTS else (ANY_POSTS,):
        add(trip, NO_AUTHOR, post_id)
    trip.run()


def add_account(redis: Redis, account: int, *, is_hidden: bool) -> None:
    """Log whether the posts of an account are hidden from all viewers."""
    trip = RoundTrip(redis)
    add(trip, HIDDEN if is_hidden else SHOWN, account)
    trip.run()


def position(redis: Redis) -> tuple[bytes, int]:
    """Return the marker of the log and the number of its latest entry.

    Begin a new log if it is absent.
    """
    marker, number = OPEN_LOG.run(redis, [INVALIDATION_LOG], fresh_token())
    return marker, int(number)


def ask(trip: RoundTrip, number: int, parse: Callable[[Entries], T]) -> Answer[T]:
    """Ask for the entries above a number."""
    bounds = (f"({number}", "inf", "WITHSCORES")
    return trip.ask("ZRANGEBYSCORE", INVALIDATION_LOG, *bounds, withscores=True, parse=parse)


def invalidations(entries: Entries, marker: bytes, number: int) -> list[Invalidation] | None:
    """Return the entries after a number, in order.

    Return None if an entry may be missing: the log has another marker, or was trimmed.
    """
    if not entries or entries[-1] != (marker, math.inf):
        return None
    found = [Invalidation(*map(int, member.split(b":"))) for member, _ in entries if b":" in member]
    return found if not found or found[0].number == number + 1 else None
