"""The sorted set `celebrities`: the authors with anything on their celebrity list.

It may hold authors whose list has become empty: a list read for nothing, never a post missed. Its scores tell only whether an author
was put again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from feedsvc.store.redis import invalidation_log, lists
from feedsvc.store.redis.keys import CELEBRITIES, celebrity_posts
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.redis.scripts import (
    FINISH_AUTHORS,
    OPEN_AUTHORS,
    PUT_AUTHOR,
    REMOVE_AUTHOR,
    fresh_token,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer

_VALID = "v"
_BUILDING = "b"


def put(redis: Redis, author: int, post_id: int = invalidation_log.WHOLE_LIST) -> None:
    """Note that the author's list holds something, and tell every copy what it holds now. Called after the list was written."""
    trip = RoundTrip(redis)
    add_put(trip, author, post_id)
    trip.run()


def add_put(trip: RoundTrip, author: int, post_id: int) -> None:
    """Add to a trip what `put` does, behind the stage that wrote the list."""
    trip.script(PUT_AUTHOR, [CELEBRITIES], author, _BUILDING + fresh_token())
    trip.then()
    invalidation_log.add_put(trip, author, post_id)


def take_off(redis: Redis, posts: Mapping[int, int]) -> None:
    """Take these posts (post -> author) off their lists, and out of the set every author whose list is empty then.

    An author's number is asked for before the list is looked at: whoever is put again after that stays in the set.
    """
    authors = list(set(posts.values()))
    trip = RoundTrip(redis)
    numbers = {author: ask_number(trip, author) for author in authors}
    trip.then()
    is_empty = [
        (author, lists.add_take_off(trip, celebrity_posts(author), post_id))
        for post_id, author in posts.items()
    ]
    trip.run()
    empty = {author for author, answer in is_empty if answer.value}
    remove(redis, {author: numbers[author].value for author in empty})


def ask_number(trip: RoundTrip, author: int) -> Answer[float | None]:
    """Ask for the number of the author's latest put; None if the author is not in the set."""
    return trip.ask("ZSCORE", CELEBRITIES, author)


def remove(redis: Redis, numbers: Mapping[int, float | None]) -> None:
    """Take these authors out, unless they were put again after they had these numbers (None: it was not there)."""
    trip = RoundTrip(redis)
    for author, number in numbers.items():
        if number is not None:
            trip.script(REMOVE_AUTHOR, [CELEBRITIES], author, int(number))
    trip.run()


def read(redis: Redis) -> frozenset[int] | None:
    """All authors; None if the set is absent or being built: absent is not empty."""
    answer = cast("list[tuple[bytes, float]]", redis.zrange(CELEBRITIES, 0, -1, withscores=True))
    # The marker's score is infinite, so it is the last of any answer; an absent set has none.
    if not answer or not answer[-1][0].startswith(_VALID.encode()):
        return None
    return frozenset(int(member) for member, _ in answer if member.isdigit())


def open_to_build(redis: Redis) -> str | None:
    """The marker to build the set under; None if it is valid."""
    marker = OPEN_AUTHORS.run(redis, [CELEBRITIES], _BUILDING + fresh_token())
    return None if marker is None else marker.decode()


def finish(redis: Redis, marker: str, authors: Iterable[int]) -> None:
    """Make the set valid with what was read from SQL, unless the marker no longer stands."""
    FINISH_AUTHORS.run(redis, [CELEBRITIES], marker, _VALID + fresh_token(), *authors)
