"""Celebrity lists, and the sorted set `celebrities` of the authors with a post on their list.

The set may also have authors whose list has become empty. This costs a read one empty list, and no
post is missed. An author's score changes with each put. Nothing else is read from the score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from feedsvc.store.redis.keys import CELEBRITIES, celebrity_posts
from feedsvc.store.redis.round_trip import RoundTrip, fresh_token
from feedsvc.store.redis.scripts import (
    FINISH_AUTHORS,
    OPEN_AUTHORS,
    REMOVE_AUTHOR,
    TAKE_OFF_POST,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer

_VALID = "v"
# The marker of a set that is being built begins with this. A token follows.
BUILDING = "b"


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
    trip = RoundTrip(redis)
    numbers = {author: ask_number(trip, author) for author in set(posts.values())}
    trip.then()
    answers = [(author, add_take_off(trip, author, post_id)) for post_id, author in posts.items()]
    trip.run()
    empty = {author for author, is_empty in answers if is_empty.value}
    remove(redis, {author: numbers[author].value for author in empty})


def ask_number(trip: RoundTrip, author: int) -> Answer[float | None]:
    """Ask for the number of the author's latest put; None if the author is not in the set."""
    return trip.ask("ZSCORE", CELEBRITIES, author)


def remove(redis: Redis, numbers: Mapping[int, float | None]) -> None:
    """Remove authors, except authors that were put again since their number was read.

    The number None means that the author was not in the set.
    """
    trip = RoundTrip(redis)
    for author, number in numbers.items():
        if number is not None:
            trip.script(REMOVE_AUTHOR, [CELEBRITIES], author, int(number))
    trip.run()


def read(redis: Redis) -> frozenset[int] | None:
    """Return all authors; None if the set is absent or being built: absent is not empty."""
    answer = cast("list[tuple[bytes, float]]", redis.zrange(CELEBRITIES, 0, -1, withscores=True))
    # The marker comes last, because its score is infinite.
    if not answer or not answer[-1][0].startswith(_VALID.encode()):
        return None
    return frozenset(int(member) for member, _ in answer if member.isdigit())


def open_to_build(redis: Redis) -> str | None:
    """Return the marker under which to build the set; None if the set is valid."""
    marker = OPEN_AUTHORS.run(redis, [CELEBRITIES], BUILDING + fresh_token())
    return None if marker is None else marker.decode()


def finish(redis: Redis, marker: str, authors: Iterable[int]) -> None:
    """Make the set valid with authors that were read from SQL, unless it has another marker."""
    FINISH_AUTHORS.run(redis, [CELEBRITIES], marker, _VALID + fresh_token(), *authors)
