"""Pages of lists, their cursors, and walks over lists of posts. Pure.

A cursor holds the kind of its list, a direction and a position. A cursor that walks a list of posts
upwards also holds the ids above the position that were already shown. A cursor holds no secret and
survives restarts. Its checksum detects a damaged or mistyped cursor. Its kind detects a cursor of
another list.

A walk goes through a list of posts page by page, downwards and back up. Downwards, a cursor is the
last id shown. Upwards, one id is not enough. Transactions do not commit in id order, so a post may
become visible below a post that was already shown. No new post can become visible at or below the
watermark. So an upward cursor stands at or below the watermark, and lists the shown ids above its
position.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from feedsvc.errors import BadCursor
from feedsvc.formats import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

T = TypeVar("T")

# The position at the top of every list of posts.
TOP = MAX_ID

# The number of items on a page if the client names no limit.
DEFAULT_LIMIT = 20

_VERSION = 1
_CHECKSUM_BYTES = 4
_MAX_LENGTH = 8_192

# An upward cursor lists at most 1,000 shown ids. If more were shown, the next page repeats some
# posts of the last seconds. It misses none.
_MAX_SHOWN = 1_000


class Kind(enum.IntEnum):
    """The lists that have cursors. The numbers are part of cursors that clients have stored."""

    FEED = 1
    PROFILE = 2
    FOLLOWING = 3
    FOLLOWERS = 4
    MUTES = 5
    BLOCKS = 6
    THRESHOLD_HISTORY = 7
    PINS = 8


@dataclass(frozen=True)
class Older:
    """Continue downwards: the items strictly below `position`."""

    position: int


@dataclass(frozen=True)
class Newer:
    """Continue upwards: the items strictly above `position` and not in `shown`, nearest first."""

    position: int
    shown: tuple[int, ...] = ()


Cursor = Older | Newer


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, newest first. `next_cursor` is None exactly if nothing older is left."""

    items: list[T]
    next_cursor: str | None
    prev_cursor: str


class Item(NamedTuple):
    """A post that the reader may see."""

    id: int
    json: bytes


class Posts(Protocol):
    """A list of posts, as one reader sees it at one moment."""

    def below(self, position: int, count: int) -> list[Item]:
        """Return the highest `count` visible posts below a position, descending.

        They are fewer only if there are no more.
        """

    def above(self, position: int, shown: Collection[int], count: int) -> list[Item]:
        """Return the lowest `count` visible posts above a position, not in `shown`, ascending."""

    def ids_above(self, position: int) -> list[int]:
        """Return all ids above a position, visible or not.

        To find out which posts are visible, every post would have to be read.
        """


def start(kind: Kind, cursor: str | None) -> Cursor:
    """Return where a page starts: at a cursor, or at the top. Raises `BadCursor`."""
    return decode(kind, cursor) if cursor is not None else Older(TOP)


def page(posts: Posts, kind: Kind, at: Cursor, limit: int, watermark: int) -> Page[bytes]:
    """Return one page of posts.

    `watermark`: the id at and below which no new post can become visible.
    """
    if isinstance(at, Newer):
        return _page_up(posts, kind, Newer(min(at.position, TOP), at.shown), limit, watermark)
    return _page_down(posts, kind, at, limit, watermark)


def encode(kind: Kind, cursor: Cursor) -> str:
    """Encode a cursor as URL-safe text."""
    if isinstance(cursor, Older):
        numbers = [0, cursor.position]
    else:
        shown = sorted(cursor.shown)
        steps = [
            above - below for below, above in zip([cursor.position, *shown], shown, strict=False)
        ]
        numbers = [1, cursor.position, *steps]
    body = bytes([_VERSION, kind]) + b"".join(map(_varint, numbers))
    return base64.urlsafe_b64encode(_checksum(body) + body).rstrip(b"=").decode()


def decode(kind: Kind, text: str) -> Cursor:
    """Decode a cursor that `encode` made for this kind of list. Raises `BadCursor`."""
    raw = _from_base64(text)
    checksum, body = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    if _checksum(body) != checksum or body[:1] != bytes([_VERSION]):
        raise BadCursor("it is damaged, or of another version")
    if body[1:2] != bytes([kind]):
        raise BadCursor("it belongs to another list")
    direction, *steps = _numbers(body[2:]) or [0]
    # An absent position is read as one that is out of range.
    position, *shown = accumulate(steps or [MAX_ID + 2])
    lowest, highest = (1, MAX_ID + 1) if direction == 0 else (0, MAX_ID)
    if position < lowest or max(position, *shown, 0) > highest:
        raise BadCursor("its position is out of range")
    return Older(position) if direction == 0 else Newer(position, tuple(shown))


def _page_down(posts: Posts, kind: Kind, at: Older, limit: int, watermark: int) -> Page[bytes]:
    young = posts.ids_above(watermark) if at.position > watermark else []
    found = posts.below(min(at.position, TOP), limit + 1)
    items = found[:limit]
    older = Older(items[-1].id) if len(found) > limit else None
    top = items[0].id if items else min(watermark, at.position - 1)
    position = min(watermark, top)
    return _page(kind, items, older, Newer(position, _shown(position, top, young, items)))


def _page_up(posts: Posts, kind: Kind, at: Newer, limit: int, watermark: int) -> Page[bytes]:
    young = posts.ids_above(max(at.position, watermark))
    items = posts.above(at.position, set(at.shown), limit)[::-1]
    # Above a full page, posts may be left that are not shown yet, so the cursor stops at the page's
    # top. Otherwise everything up to the highest shown id is shown.
    top = (
        items[0].id
        if len(items) == limit
        else max([at.position, *at.shown, *(item.id for item in items)])
    )
    position = max(at.position, min(watermark, top))
    newer = Newer(position, _shown(position, top, young, items, at.shown))
    bottom = items[-1].id if items else top + 1
    older = Older(bottom) if posts.below(min(bottom, TOP), 1) else None
    return _page(kind, items, older, newer)


def _shown(
    position: int,
    top: int,
    young: Iterable[int],
    items: Iterable[Item],
    shown: Iterable[int] = (),
) -> tuple[int, ...]:
    """Return the ids above a position that count as shown.

    `young`: the ids above the watermark, read before the page. A post that commits later counts as
    shown only if it is on the page.
    """
    ids = {*(post_id for post_id in young if post_id <= top), *(item.id for item in items), *shown}
    return tuple(sorted(post_id for post_id in ids if post_id > position)[:_MAX_SHOWN])


def _page(kind: Kind, items: list[Item], older: Older | None, newer: Newer) -> Page[bytes]:
    json = [item.json for item in items]
    return Page(json, encode(kind, older) if older else None, encode(kind, newer))


def _from_base64(text: str) -> bytes:
    if not text:
        raise BadCursor("it is empty")
    if len(text) > _MAX_LENGTH:
        raise BadCursor("it is too long")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadCursor("it is not base64") from None


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 -- bit 8: another byte follows
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _numbers(body: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in body:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 -- the last byte of a number
            numbers.append(number)
            number, shift = 0, 0
    return numbers
