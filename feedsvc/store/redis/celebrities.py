"""Celebrity lists, and the sorted set `celebrities` of the authors with a post on their list.

The set may also have authors whose list has become empty. This costs a read one empty list, and no
post is missed. An author's score changes with each put. Nothing else is read from the score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from feedsvc.store.redis.keys import CELEBRITIES, celebrity_posts
from feedsvc.store.redis.round_trip import RoundTrip, fresh_token
from feedsvc.store.redis.scripts import (
    CLAIM_AUTHORS,
    FINISH_AUTHORS,
    OPEN_AUTHORS,
    REMOVE_AUTHOR,
    SCAN_AUTHORS,
    TAKE_OFF_POST,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer

_VALID = "v"
# The marker of a set that is being built. A token follows.
BUILDING = "b"
# The marker of a set that an upload began and that no reader has claimed.
UNCLAIMED = "b?"
# The cursors before the first part of the set and after the last one.
FIRST, LAST = b"-inf", b"inf"
# One script call adds at most 1,000 authors, so that it does not occupy Redis for long.
_STEP = 1_000


def add_take_off(trip: RoundTrip, author: int, post_id: int) -> Answer[int]:
    """Take a post off its author's list, in a round trip.

    The answer is 1 if the list has no ids and its floor is 0, otherwise 0.
    """
    return trip.script(TAKE_OFF_POST, [celebrity_posts(author)], post_id)


def take_off(redis: Redis, posts: Mapping[int, int]) -> None:
    """Take posts off their lists, and remove each author whose list is empty then.

    `posts`: post -> its author. The number of an author is read before its list is checked, so an
    author that is put again afterwards stays in the set.
    """
    if not posts:
        return
    trip = RoundTrip(redis)
    authors = list(set(posts.values()))
    numbers = ask_numbers(trip, authors)
    trip.then()
    answers = [(author, add_take_off(trip, author, post_id)) for post_id, author in posts.items()]
    trip.run()
    empty = {author for author, is_empty in answers if is_empty.value}
    latest = dict(zip(authors, numbers.value, strict=True))
    remove(redis, {author: latest[author] for author in empty})


def ask_numbers(trip: RoundTrip, authors: Collection[int]) -> Answer[list[float | None]]:
    """Ask for the numbers of the authors' latest puts; None for an author that is not in the set.

    There must be an author.
    """
    return trip.ask("ZMSCORE", CELEBRITIES, *authors)


def remove(redis: Redis, numbers: Mapping[int, float | None]) -> None:
    """Remove authors, except authors that were put again since their number was read.

    The number None means that the author was not in the set.
    """
    trip = RoundTrip(redis)
    for author, number in numbers.items():
        if number is not None:
            trip.script(REMOVE_AUTHOR, [CELEBRITIES], author, int(number))
    trip.run()


class Part(NamedTuple):
    """Authors of the valid set with this marker. The next part begins above the score `cursor`."""

    marker: bytes
    cursor: bytes
    authors: frozenset[int]


def ask_part(
    trip: RoundTrip, cursor: bytes, count: int, most: int, take: Callable[[Part | None], None]
) -> None:
    """Ask for the next `count` authors after a cursor, and call `take` with the answer.

    `FIRST` begins, and the cursor of the last part is `LAST`. A part has up to `_STEP` authors more
    than `count`, because it has all authors of its highest score. The answer is None if the set is
    absent, being built, or has more than `most` members: the authors, the marker and a counter.
    """
    args = (cursor, count, most)
    trip.script(SCAN_AUTHORS, [CELEBRITIES], *args, parse=lambda raw: take(_part(raw)))


def read_few(redis: Redis, most: int) -> frozenset[int] | None:
    """Return all authors; None if the set is absent, being built, or has more than `most` members.

    An absent set is not an empty set.
    """
    part = _part(SCAN_AUTHORS.run(redis, [CELEBRITIES], FIRST, most, most))
    return None if part is None else part.authors


def find(redis: Redis, authors: Collection[int]) -> frozenset[int] | None:
    """Return the given authors that are in the set; None if the set is absent or being built."""
    if not authors:
        return frozenset()
    trip = RoundTrip(redis)
    before: Answer[list[bytes]] = trip.ask("ZRANGEBYSCORE", CELEBRITIES, "inf", "inf")
    numbers = ask_numbers(trip, authors)
    after: Answer[list[bytes]] = trip.ask("ZRANGEBYSCORE", CELEBRITIES, "inf", "inf")
    trip.run()
    # A set that was lost and filled again in between has another marker.
    if before.value != after.value or not before.value or not _is_valid(before.value[0]):
        return None
    found = zip(authors, numbers.value, strict=True)
    return frozenset(author for author, number in found if number is not None)


def claim(redis: Redis) -> str | None:
    """Return the marker under which the caller has to fill the set.

    Return None if the set is valid, or if another reader has claimed it.
    """
    marker = BUILDING + fresh_token()
    return marker if CLAIM_AUTHORS.run(redis, [CELEBRITIES], marker) else None


def open_to_build(redis: Redis) -> str | None:
    """Return the marker under which to fill the set; None if the set is valid.

    Another reader may be filling it, or may have died.
    """
    marker = OPEN_AUTHORS.run(redis, [CELEBRITIES], BUILDING + fresh_token())
    return None if marker is None else marker.decode()


def finish(redis: Redis, marker: str, authors: Sequence[int]) -> None:
    """Make the set valid with authors that were read from SQL, unless it has another marker.

    A step adds 1,000 authors and keeps the marker. The last step replaces the marker.
    """
    for first in range(0, len(authors), _STEP):
        step = authors[first : first + _STEP]
        FINISH_AUTHORS.run(redis, [CELEBRITIES], marker, marker, *step)
    FINISH_AUTHORS.run(redis, [CELEBRITIES], marker, _VALID + fresh_token())


def _part(raw: Any) -> Part | None:
    if raw is None:
        return None
    marker, cursor, members = raw
    return Part(marker, cursor, frozenset(map(int, filter(bytes.isdigit, members))))


def _is_valid(marker: bytes) -> bool:
    return marker.startswith(_VALID.encode())
