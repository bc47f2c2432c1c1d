"""The head of a home list: as much of it as a first page needs, however long the list is.

A list is in order of arrival, and a late push puts an older id before newer ones: its first ids say nothing about the others until
somebody has looked at those. So whoever has read a whole list leaves a note in its marker, `f<floor>:<token>:<last>:<rest>`: of so many
elements at its end none is above `rest`. Pushes keep that true; whatever else changes a list writes another marker. A head that leaves
out no more than those is a list like any other, whose floor is the higher of the two.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from redis import RedisError

from feedsvc.store.redis import lists
from feedsvc.store.redis.lists import Decimals
from feedsvc.store.redis.scripts import NOTE_REST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.client import Pipeline

    from feedsvc.store.redis.cluster import Redis

# Pages of up to so many posts are looked for in the head, which is so many ids. A note speaks of what is behind the first ones, and
# serves until the difference has been pushed. Nobody sets them but tests.
PAGE, READ, FIRST = 20, 80, 30

# How many answers `queue` is for.
ANSWERS = 4


class Home(NamedTuple):
    """What is known of a home list: all ids on it above `floor`, perhaps with others, ascending. `whole`: there is no more to know."""

    ids: Sequence[int]
    floor: int
    whole: bool = True


def queue(pipe: Pipeline, key: str, *, is_all: bool) -> None:
    """Ask for the head of a list, or for all of it.

    The marker is read first and last: where it is the same, there were only pushes in between.
    """
    pipe.lindex(key, -1)
    pipe.lrange(key, 0, -1 if is_all else READ - 1)
    pipe.llen(key)
    pipe.lindex(key, -1)


def parse(before: bytes | None, raw: list[bytes], length: int, after: bytes | None) -> Home | None:
    """The head in the answers; None if they do not say enough: the whole list is needed, or there is none."""
    if not raw or not raw[-1].isdigit():
        return whole(raw)
    note = _note(after)
    if note is None or before != after or length - len(raw) > note.last:
        return None
    return Home(Decimals(raw), max(note.floor, note.rest), whole=False)


def whole(raw: list[bytes]) -> Home | None:
    """The same in what LRANGE returned of a whole list; None if it is absent or being built."""
    floor = lists.floor_of(raw)
    return None if floor is None else Home(Decimals(raw[:-1]), floor)


def leave_note(redis: Redis, key: str, raw: list[bytes]) -> None:
    """Note in a valid list's marker what was seen of it when it was read whole. Nothing happens if it has another marker by now."""
    if len(raw) <= READ:
        return
    floor, token, *_ = (*raw[-1].split(b":"), b"")  # an earlier version wrote no token
    marker = b"%s:%s:%d:%d" % (floor, token, len(raw) - FIRST, Decimals(raw[FIRST:-1])[-1])
    if marker != raw[-1]:
        with suppress(RedisError):  # the page is there without it
            NOTE_REST.run(redis, [key], raw[-1], marker)


def belied(raw: Sequence[bytes]) -> set[int]:
    """The ids on a whole list that its note denies: readers of its head would miss them."""
    note = _note(raw[-1]) if raw else None
    return (
        set()
        if note is None
        else {int(post_id) for post_id in raw[-note.last : -1] if int(post_id) > note.rest}
    )


class _Note(NamedTuple):
    floor: int
    last: int
    rest: int


def _note(marker: bytes | None) -> _Note | None:
    if marker is None or not marker.startswith(lists.FLOOR):
        return None
    floor, *noted = marker.removeprefix(lists.FLOOR).split(b":")
    return _Note(int(floor), int(noted[1]), int(noted[2])) if noted[1:] else None
