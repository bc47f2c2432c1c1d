"""Lists of post ids with a floor: home lists (`homefeed:…`) and celebrity lists.

A list holds post ids, the latest push first. Its last element is its marker:

    f<floor>:<token>                     the list is valid
    f<floor>:<token>:<length>:<highest>  the list is valid, and its marker has a tail hint
    b<token>                             the list is being built

A valid list has every post that belongs on it and has an id above the floor. Ids at or below the
floor may be missing. Readers ignore a list that is being built, but the list takes pushes. The
marker also keeps an empty list in existence, which a push needs.

The head of a home list is its first 80 elements. A first page needs only the head, however long the
list is. But a list is in order of arrival, and a late push may put an old id before newer ids. So
the head alone does not tell which ids the rest has. A reader that has read a whole list therefore
stores a tail hint in its marker: none of the last `length` elements has an id above `highest`.

A push keeps the hint true. Every other change of a valid home list replaces its marker. If the
elements beyond the head are among the last `length` elements, the head has every id above
max(`floor`, `highest`). Celebrity lists have no tail hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from feedsvc.errors import StoreUnavailable
from feedsvc.store.redis.faults import WriteRefused
from feedsvc.store.redis.round_trip import fresh_token
from feedsvc.store.redis.scripts import (
    FINISH_LIST,
    OPEN_LIST,
    STORE_TAIL_HINT,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.settings import Settings
    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer, RoundTrip

# The head has 80 elements. It serves pages of up to 20 posts.
HEAD_LENGTH, HEAD_PAGE = 80, 20
# A tail hint covers all but the first 30 elements. The head suffices until more than 50 ids have
# been pushed.
HINT_AFTER = 30

_VALID, _BUILDING = "f", "b"


class TailHint(NamedTuple):
    """None of the last `length` elements of a list, marker included, has an id above `highest`."""

    length: int
    highest: int


class Marker(NamedTuple):
    """The last element of a list. `floor` is None while the list is being built.

    A token belongs to one list. A trim replaces the token.
    """

    floor: int | None
    token: str = ""
    hint: TailHint | None = None

    @classmethod
    def building(cls) -> Marker:
        """Return the marker of a list that begins to be built."""
        return cls(None, fresh_token())

    @classmethod
    def parse(cls, element: bytes) -> Marker:
        """Read a marker. An element that is no valid marker is read as `building`."""
        kind, text = element[:1].decode(), element[1:].decode()
        if kind != _VALID:
            return cls(None, text)
        floor, *rest = text.split(":")
        hint = TailHint(int(rest[1]), int(rest[2])) if len(rest) > 1 else None
        return cls(int(floor), rest[0] if rest else "", hint)

    def format(self) -> str:
        """Return the marker as the list has it. A marker without token and hint has no colon."""
        if self.floor is None:
            return _BUILDING + self.token
        parts = (self.floor, self.token, *self.hint) if self.hint else (self.floor, self.token)
        return _VALID + ":".join(map(str, parts)).removesuffix(":")


@dataclass(frozen=True)
class FloorList:
    """A valid list: every id above `floor`, in order of arrival, perhaps with repeats."""

    ids: list[int]
    floor: int

    @classmethod
    def of_newest(cls, ids: list[int], cap: int) -> FloorList:
        """Return a list of the first `cap` ids. The next id, if there is one, is the floor."""
        return cls(ids[:cap], ids[cap] if len(ids) > cap else 0)


class HomeList(NamedTuple):
    """The ids of a home list, ascending: all ids above `floor`, perhaps with some at or below it.

    `is_whole`: False if only the head was read. The rest then has ids only at or below `floor`.
    """

    ids: Sequence[int]
    floor: int
    is_whole: bool = True


class Decimals(Sequence[int]):
    """Ids as decimal text, ascending. Only the ids that are read become numbers.

    A page reads about 30 of 800.
    """

    def __init__(self, texts: list[bytes]) -> None:
        """Take over the list `texts` and sort it."""
        texts.sort()
        if len(set(map(len, texts))) > 1:
            texts.sort(key=len)  # 9 comes before 10
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, at: Any) -> Any:
        """Return one id, or a slice of ids as a list."""
        if isinstance(at, slice):
            return list(map(int, self._texts[at]))
        return int(self._texts[at])


def parse(raw: Sequence[bytes]) -> FloorList | None:
    """Return the list in an answer of LRANGE; None if it is absent or being built."""
    floor = Marker.parse(raw[-1]).floor if raw else None
    return None if floor is None else FloorList(list(map(int, raw[:-1])), floor)


def parse_home(raw: list[bytes]) -> HomeList | None:
    """Return the whole home list in an answer of LRANGE; None if it is absent or being built."""
    floor = Marker.parse(raw[-1]).floor if raw else None
    return None if floor is None else HomeList(Decimals(raw[:-1]), floor)


def ask(trip: RoundTrip, key: str) -> Answer[FloorList | None]:
    """Ask for a list; None if it is absent or being built."""
    return trip.ask("LRANGE", key, 0, -1, parse=parse)


def ask_home(trip: RoundTrip, key: str) -> Answer[HomeList | None]:
    """Ask for a whole home list; None if it is absent or being built."""
    return trip.ask("LRANGE", key, 0, -1, parse=parse_home)


@dataclass(frozen=True)
class HeadAnswer:
    """The answers to the four questions about the head of a home list.

    The marker is read first and last. If it has not changed, the list had only pushes in between.
    These pushes may make `length` too high. Then more elements seem to be beyond the head than
    there were, which is safe.
    """

    before: Answer[bytes | None]
    elements: Answer[list[bytes]]
    length: Answer[int]
    after: Answer[bytes | None]

    @property
    def value(self) -> HomeList | None:
        """The head, or the whole list if it is short.

        None if the list is absent or being built, or if its head is not enough.
        """
        elements = self.elements.value
        if not elements or not elements[-1].isdigit():
            return parse_home(elements)
        floor, _, hint = Marker.parse(self.after.value or b"")
        left_out = self.length.value - len(elements)
        if floor is None or hint is None or self.before.value != self.after.value:
            return None
        if left_out > hint.length:
            return None
        return HomeList(Decimals(elements), max(floor, hint.highest), is_whole=False)


def ask_head(trip: RoundTrip, key: str) -> HeadAnswer:
    """Ask for the head of a home list."""
    return HeadAnswer(
        trip.ask("LINDEX", key, -1),
        trip.ask("LRANGE", key, 0, HEAD_LENGTH - 1),
        trip.ask("LLEN", key),
        trip.ask("LINDEX", key, -1),
    )


def store_tail_hint(redis: Redis, key: str, raw: Sequence[bytes]) -> None:
    """Store the tail hint of a valid list that was read whole, unless its marker has changed since.

    A list that fits into a head gets none.
    """
    if len(raw) <= HEAD_LENGTH:
        return
    hint = TailHint(len(raw) - HINT_AFTER, max(map(int, raw[HINT_AFTER:-1])))
    marker = Marker.parse(raw[-1])._replace(hint=hint).format().encode()
    if marker != raw[-1]:
        with suppress(StoreUnavailable):  # the reader has its page without the hint
            STORE_TAIL_HINT.run(redis, [key], raw[-1], marker)


def above_tail_hint(raw: Sequence[bytes]) -> set[int]:
    """Return the ids in the tail of a whole list that are higher than its tail hint claims.

    A read of the head alone would miss them. A correct list has none.
    """
    hint = Marker.parse(raw[-1]).hint if raw else None
    if hint is None:
        return set()
    return {post_id for post_id in map(int, raw[-hint.length : -1]) if post_id > hint.highest}


def read(redis: Redis, key: str) -> FloorList | None:
    """Read a list in a round trip of its own; None if it is absent or being built."""
    return parse(cast("list[bytes]", redis.lrange(key, 0, -1)))


def open_to_build(redis: Redis, key: str, ttl_seconds: int) -> Marker | None:
    """Return the marker under which to build this list; None if the list is valid.

    Pushes land on the list from here on.
    """
    marker = Marker.building().format()
    found = OPEN_LIST.run(redis, [key], marker, ttl_seconds)
    return None if found is None else Marker.parse(found)


def finish(redis: Redis, key: str, marker: Marker, newest: FloorList, limits: Settings) -> bool:
    """Make a list valid with ids that were read from SQL, highest first.

    Return False and store nothing if the list has another marker by now.
    """
    args = (marker.format(), newest.floor, limits.feed_cap, limits.feed_ttl_seconds, *newest.ids)
    return bool(FINISH_LIST.run(redis, [key], *args))


def build(redis: Redis, key: str, limits: Settings, read_sql: Callable[[], FloorList]) -> FloorList:
    """Return a list as SQL has it now, and store it.

    It is not stored if the list's marker has changed meanwhile: after a deletion, an expiry or a
    trim. It is not stored either if Redis refuses writes.

    The list is opened before SQL is read, so that pushes land on it. In the other order, a post
    that commits in between would be neither pushed nor read.
    """
    marker = None
    with suppress(WriteRefused):
        marker = open_to_build(redis, key, limits.feed_ttl_seconds)
    found = read_sql()
    if marker is not None:
        with suppress(WriteRefused):
            finish(redis, key, marker, found, limits)
    return found
