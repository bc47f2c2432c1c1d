"""Lists with a floor: the form of home feeds and of celebrity lists.

Such a list holds post ids, the newest put first, and as its last element a marker. `f<floor>`: every post that belongs on the
list and has an id above the floor is on it; at or below the floor the list says nothing. `b<token>`: the list is being built and
says nothing yet, but takes pushes. The marker also keeps an empty list in existence, which a push needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from feedsvc.store.redis import keys
from feedsvc.store.redis.scripts import DELIVER_SLICE, FINISH_LIST, OPEN_LIST, PUT_POST, TAKE_OFF_POST, fresh_token, streamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from feedsvc.store import Limits
    from feedsvc.store.redis.client import Redis

START = "0"
END = "end"
PROGRESS_TTL_SECONDS = 86_400

_FLOOR = b"f"
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


@dataclass(frozen=True)
class Slice:
    """The followers between two cursors, up to a thousand, as decimal strings; the last one is the cursor it leads to, but for END."""

    start: str
    end: str
    followers: Sequence[str]


def parse(raw: Sequence[bytes]) -> FloorList | None:
    """The list in what LRANGE returned; None if it is absent or being built: absent is not empty."""
    if not raw or not raw[-1].startswith(_FLOOR):
        return None
    return FloorList(list(map(int, raw[:-1])), int(raw[-1][1:]))


def read(redis: Redis, key: str) -> FloorList | None:
    """The list, in a round trip of its own; None if it is absent or being built."""
    return parse(cast("list[bytes]", redis.lrange(key, 0, -1)))


def open_to_build(redis: Redis, key: str, ttl_seconds: int) -> str | None:
    """The marker to build this list under, after which pushes land on it; None if it is valid."""
    marker = OPEN_LIST.run(redis, [key], _BUILDING + fresh_token(), ttl_seconds)
    return None if marker is None else marker.decode()


def finish(redis: Redis, key: str, marker: str, read: FloorList, limits: Limits) -> bool:
    """Make the list valid with what was read from SQL, highest id first. False if the marker no longer stands: nothing is stored."""
    args = (marker, read.floor, limits.feed_cap, limits.feed_ttl_seconds, *read.ids)
    return bool(FINISH_LIST.run(redis, [key], *args))


def build(redis: Redis, key: str, limits: Limits, read_sql: Callable[[], FloorList]) -> FloorList:
    """A list as SQL has it now; stored, unless something has changed meanwhile.

    The list is made first, so that pushes land on it, and SQL is read then: read the other way round, a post that commits in
    between would be neither pushed nor read.
    """
    marker = open_to_build(redis, key, limits.feed_ttl_seconds)
    found = read_sql()
    if marker is not None:
        finish(redis, key, marker, found, limits)
    return found


def put(redis: Redis, key: str, post_id: int, limits: Limits) -> str | None:
    """Put a post at the head. The marker to build under if the list is not valid, which the caller then does; else None."""
    trim_at = limits.feed_cap + limits.feed_slack
    marker = PUT_POST.run(redis, [key], post_id, limits.feed_cap, trim_at, fresh_token(), limits.feed_ttl_seconds)
    return None if marker is None else marker.decode()


def take_off(redis: Redis, key: str, post_id: int) -> bool:
    """Take a post off; True if the list is valid and empty now, down to the very first post."""
    return bool(TAKE_OFF_POST.run(redis, [key], post_id))


def deliver(redis: Redis, post_id: int, author: int, batch: Sequence[Slice], limits: Limits) -> str:
    """Push a post into the feeds of consecutive slices, in one round trip, each slice in one atomic step.

    Returns the cursor that stands afterwards: the last slice's end, or, if the fan-out was elsewhere, where it really is; then
    nothing was pushed from there on. The author's own feed goes with the very first slice.
    """
    shortest = limits.feed_cap + (limits.feed_slack + 1) // 2
    lengths = limits.feed_cap + limits.feed_slack - shortest + 1
    fixed = (post_id, limits.feed_cap, shortest, lengths, fresh_token())

    def calls() -> Iterator[tuple[list[str], tuple[Any, ...]]]:
        for number, part in enumerate(batch):
            own = part.start == START
            touched = [keys.fanout(post_id), *([keys.homefeed(author)] if own else ())]
            touched += [keys.HOMEFEED_PREFIX + follower for follower in part.followers]
            yield touched, (part.start, part.end, *fixed, "1" if own else "0", 1 if number == 0 else 0, PROGRESS_TTL_SECONDS)

    at = batch[0].start
    for part, answer in zip(batch, streamed(redis, DELIVER_SLICE, calls), strict=True):
        at = answer.decode()
        if at != part.end:
            break
    return at
