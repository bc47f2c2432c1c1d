"""The head of a home list: as much of it as a first page needs, however long the list is.

A list is in order of arrival, and a late push puts an older id before newer ones: its first ids say nothing about the others until
somebody has looked at those. So whoever has read a whole list leaves a note in its marker, `f<floor>:<token>:<last>:<rest>`: of so many
elements at its end none is above `rest`. Pushes keep that true; whatever else changes a list writes another marker. A head that leaves
out no more than those is a list like any other, whose floor is the higher of the two.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from redis import RedisError

from feedsvc.store.redis import lists
from feedsvc.store.redis.lists import Decimals
from feedsvc.store.redis.scripts import NOTE_REST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer, RoundTrip

# Pages of up to so many posts are looked for in the head, which is so many ids. A note speaks of what is behind the first ones, and
# serves until the difference has been pushed. Nobody sets them but tests.
PAGE, READ, FIRST = 20, 80, 30


class Home(NamedTuple):
    """What is known of a home list: all ids on it above `floor`, perhaps with others, ascending. `whole`: there is no more to know."""

    ids: Sequence[int]
    floor: int
    whole: bool = True


@dataclass(frozen=True)
class HeadAnswers:
    """The answers to the four questions about the head of a list.

    The marker is read first and last. If it is the same both times, there were only pushes between
    the two questions.
    """

    before: Answer[bytes | None]
    ids: Answer[list[bytes]]
    length: Answer[int]
    after: Answer[bytes | None]

    @property
    def value(self) -> Home | None:
        """The head; None if the whole list is needed, or if there is no list."""
        return _parse(self.before.value, self.ids.value, self.length.value, self.after.value)


def ask_head(trip: RoundTrip, key: str) -> HeadAnswers:
    """Ask for the head of a list."""
    return HeadAnswers(
        trip.ask("LINDEX", key, -1),
        trip.ask("LRANGE", key, 0, READ - 1),
        trip.ask("LLEN", key),
        trip.ask("LINDEX", key, -1),
    )


def ask_whole(trip: RoundTrip, key: str) -> Answer[Home | None]:
    """Ask for the whole list; None if it is absent or being built."""
    return trip.ask("LRANGE", key, 0, -1, parse=whole)


def _parse(before: bytes | None, raw: list[bytes], length: int, after: bytes | None) -> Home | None:
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
