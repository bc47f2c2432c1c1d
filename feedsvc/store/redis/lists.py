"""Lists with a floor: the form of home feeds and of celebrity lists.

Such a list holds post ids, the newest put first, and as its last element a marker. `f<floor>`: every post that belongs on the
list and has an id above the floor is on it; at or below the floor the list says nothing. `b<token>`: the list is being built and
says nothing yet, but takes pushes. The marker also keeps an empty list in existence, which a push needs. Behind a floor there is a
token, which no other list has, nor this one after a trim, and perhaps a note (see `heads`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast, overload

from feedsvc.store.redis.scripts import FINISH_LIST, OPEN_LIST, PUT_POST, TAKE_OFF_POST, fresh_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.settings import Settings
    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer, RoundTrip

FLOOR = b"f"
_BUILDING = "b"


@dataclass(frozen=True)
class FloorList:
    """A valid list: all that belongs on it above `floor`, in order of arrival, perhaps with repeats."""

    ids: list[int]
    floor: int

    @classmethod
    def of_newest(cls, ids: list[int], cap: int) -> FloorList:
        """The first `cap` of the newest ids, of which one more was read, if there is one: that is the floor."""
        return cls(ids[:cap], ids[cap] if len(ids) > cap else 0)


class Decimals(Sequence[int]):
    """Ids as Redis writes them, ascending. A page looks at thirty of eight hundred: only those become numbers."""

    def __init__(self, texts: list[bytes]) -> None:
        """Takes the list over."""
        texts.sort()
        if len(set(map(len, texts))) > 1:
            texts.sort(key=len)  # 9 comes before 10
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[int]: ...
    def __getitem__(self, at: int | slice) -> int | Sequence[int]:
        if isinstance(at, slice):
            return list(map(int, self._texts[at]))
        return int(self._texts[at])


def parse(raw: Sequence[bytes]) -> FloorList | None:
    """The list in what LRANGE returned; None if it is absent or being built: absent is not empty."""
    floor = floor_of(raw)
    return None if floor is None else FloorList(list(map(int, raw[:-1])), floor)


def floor_of(raw: Sequence[bytes]) -> int | None:
    """The floor of the same; None if it says nothing."""
    return (
        int(raw[-1].removeprefix(FLOOR).partition(b":")[0])
        if raw and raw[-1].startswith(FLOOR)
        else None
    )


def ask(trip: RoundTrip, key: str) -> Answer[FloorList | None]:
    """Ask for a list; None if it is absent or being built."""
    return trip.ask("LRANGE", key, 0, -1, parse=parse)


def read(redis: Redis, key: str) -> FloorList | None:
    """The list, in a round trip of its own; None if it is absent or being built."""
    return parse(cast("list[bytes]", redis.lrange(key, 0, -1)))


def open_to_build(redis: Redis, key: str, ttl_seconds: int) -> str | None:
    """The marker to build this list under, after which pushes land on it; None if it is valid."""
    marker = OPEN_LIST.run(redis, [key], _BUILDING + fresh_token(), ttl_seconds)
    return None if marker is None else marker.decode()


def finish(redis: Redis, key: str, marker: str, read: FloorList, limits: Settings) -> bool:
    """Make the list valid with what was read from SQL, highest id first. False if the marker no longer stands: nothing is stored."""
    args = (marker, read.floor, limits.feed_cap, limits.feed_ttl_seconds, *read.ids)
    return bool(FINISH_LIST.run(redis, [key], *args))


def build(redis: Redis, key: str, limits: Settings, read_sql: Callable[[], FloorList]) -> FloorList:
    """A list as SQL has it now; stored, unless something has changed meanwhile.

    The list is made first, so that pushes land on it, and SQL is read then: read the other way round, a post that commits in
    between would be neither pushed nor read.
    """
    marker = open_to_build(redis, key, limits.feed_ttl_seconds)
    found = read_sql()
    if marker is not None:
        finish(redis, key, marker, found, limits)
    return found


def put(redis: Redis, key: str, post_id: int, limits: Settings) -> str | None:
    """Put a post at the head. The marker to build under if the list is not valid, which the caller then does; else None."""
    trim_at = limits.feed_cap + limits.feed_slack
    marker = PUT_POST.run(
        redis, [key], post_id, limits.feed_cap, trim_at, fresh_token(), limits.feed_ttl_seconds
    )
    return None if marker is None else marker.decode()


def add_take_off(trip: RoundTrip, key: str, post_id: int) -> Answer[int]:
    """Take a post off; the answer is 1 if the list is valid and empty now, down to the first post."""
    return trip.script(TAKE_OFF_POST, [key], post_id)
