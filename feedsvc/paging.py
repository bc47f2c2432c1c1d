"""Pages of lists, their cursors, and walks over lists of posts. Pure.

A cursor holds the kind of its list, a direction and a position. A cursor that walks a list of posts
upwards also holds the ids above the position that were already shown. A cursor holds no secret and
survives restarts. Its checksum detects a damaged or mistyped cursor. Its kind detects a cursor of
another list.

A walk goes through a list of posts page by page, downwards and back up. Downwards, a cursor is the
last id shown. Upwards, one id is not enough. Transactions do not commit in id order, so a post may
become visible below a post that was already shown. No new post can become visible at or below the
watermark (store/watermark.py). So an upward cursor stands at or below the watermark, and lists the
shown ids above its position.

A cursor has at most 512 characters. A poll that shows more than its next cursor can list ends its
page earlier. The rest comes later, when the watermark has risen.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from feedsvc.errors import BadCursor
from feedsvc.formats import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Collection

T = TypeVar("T")

# The position at the top of every list of posts.
TOP = MAX_ID

# The number of items on a page if the client names no limit.
DEFAULT_LIMIT = 20

_VERSION = 1
_CHECKSUM_BYTES = 4
_MAX_LENGTH = 512
# The most ids that fit into a cursor, if each takes one byte. Usual ones take two to four.
MAX_SHOWN = _MAX_LENGTH * 3 // 4
# An id takes at most nine bytes, so this many ids always fit.
_ALWAYS_FIT = 40
# Clients may have stored longer cursors, from before the limit of 512 characters.
_MAX_READ_LENGTH = 8_192
# A cursor that lists no ids has at most this many characters: 17 bytes.
_BARE_LENGTH = 23
# A client polls with the same cursor until it sees a post. Cache the cursors of this many clients,
# as `api/auth.py` caches their tokens. This takes about 15 MB.
_CACHED_CURSORS = 20_000


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
    """One page of a list, newest first. `next_cursor` is None exactly if nothing older is left.

    `is_young`: a higher watermark would shorten `prev_cursor`.
    """

    items: list[T]
    next_cursor: str | None
    prev_cursor: str
    is_young: bool = False


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
        """Return the lowest `MAX_SHOWN` ids above a position, visible or not.

        A query for the visible ids alone would have to read every post.
        """


def start(kind: Kind, cursor: str | None) -> Cursor:
    """Return where a page starts: at a cursor, or at the top. Raises `BadCursor`."""
    return decode(kind, cursor) if cursor is not None else Older(TOP)


def page(posts: Posts, kind: Kind, at: Cursor, limit: int, watermark: int | None) -> Page[bytes]:
    """Return one page of posts.

    `watermark`: the id at and below which no new post can become visible. None: it is not known.
    """
    if isinstance(at, Newer):
        return _page_up(posts, kind, Newer(min(at.position, TOP), at.shown), limit, watermark)
    return _page_down(posts, kind, at, limit, watermark)


def encode(kind: Kind, cursor: Cursor) -> str:
    """Encode a cursor as URL-safe text."""
    if isinstance(cursor, Older):
        return _encode_bare(kind, 0, cursor.position)
    if not cursor.shown:
        return _encode_bare(kind, 1, cursor.position)
    shown = sorted(cursor.shown)
    steps = [above - below for below, above in zip([cursor.position, *shown], shown, strict=False)]
    return _encode(kind, 1, cursor.position, *steps)


def decode(kind: Kind, text: str) -> Cursor:
    """Decode a cursor that `encode` made for this kind of list. Raises `BadCursor`."""
    return _decode_bare(kind, text) if len(text) <= _BARE_LENGTH else _decode(kind, text)


def _encode(kind: Kind, direction: int, position: int, *steps: int) -> str:
    body = bytes([_VERSION, kind]) + b"".join(map(_varint, (direction, position, *steps)))
    return base64.urlsafe_b64encode(_checksum(body) + body).rstrip(b"=").decode()


def _decode(kind: Kind, text: str) -> Cursor:
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


_encode_bare = lru_cache(2 * _CACHED_CURSORS)(_encode)  # a page has two cursors
_decode_bare = lru_cache(_CACHED_CURSORS)(_decode)


def _page_down(
    posts: Posts, kind: Kind, at: Older, limit: int, watermark: int | None
) -> Page[bytes]:
    young = [] if watermark is None or at.position <= watermark else posts.ids_above(watermark)
    found = posts.below(min(at.position, TOP), limit + 1)
    items = found[:limit]
    ids = [item.id for item in items]
    older = Older(ids[-1]) if len(found) > limit else None
    if watermark is None:
        # This process has no watermark yet. If the page is the whole list, the cursor stands at 0
        # and lists the page. Otherwise a post that becomes visible below the page later is found by
        # a walk, and not by a poll.
        is_whole = older is None and len(ids) <= _ALWAYS_FIT
        watermark = 0 if is_whole or not ids else ids[-1] - 1
    top = ids[0] if ids else min(watermark, at.position - 1)
    position = min(watermark, top)
    shown = sorted(post_id for post_id in ids if post_id > position)
    # The next pages show the posts between the watermark and this page. They do not show a post
    # that commits there later, so a poll has to.
    walked = [post_id for post_id in young if older and post_id < older.position]
    newer = Newer(position, (*walked, *shown))
    if not _fits(newer):
        # Polls show posts again that the next pages show, but none of this page.
        newer = Newer(position, _longest_fitting(position, shown))
    return _page(kind, items, older, newer)


def _page_up(posts: Posts, kind: Kind, at: Newer, limit: int, watermark: int | None) -> Page[bytes]:
    items = posts.above(at.position, set(at.shown), limit)
    count, newer = _end(at, [item.id for item in items], limit, watermark)
    items = items[:count][::-1]
    bottom = items[-1].id if items else max(at.position, *at.shown, 0) + 1
    older = Older(bottom) if posts.below(min(bottom, TOP), 1) else None
    return _page(kind, items, older, newer)


def _end(at: Newer, ids: list[int], limit: int, watermark: int | None) -> tuple[int, Newer]:
    """Return how many of the posts above a cursor to show, and the cursor after these posts.

    The number is the highest one whose cursor fits. The cursor after 0 posts always fits, because
    it lists only ids of the cursor before it.
    """
    count, is_all = len(ids), len(ids) < limit
    while True:
        if count < len(ids):
            top = ids[count] - 1
        else:
            # Above a full page, posts may be left that are not shown yet.
            top = max(at.position, *at.shown, *ids, 0) if is_all else ids[-1]
        position = max(at.position, min(watermark or 0, top))
        shown = sorted(post_id for post_id in (*at.shown, *ids[:count]) if post_id > position)
        newer = Newer(position, tuple(shown))
        if count == 0 or _fits(newer):
            return count, newer
        count -= 1


def _fits(cursor: Newer) -> bool:
    return len(cursor.shown) <= _ALWAYS_FIT or len(encode(Kind.FEED, cursor)) <= _MAX_LENGTH


def _longest_fitting(position: int, shown: list[int]) -> tuple[int, ...]:
    """Return the longest run of first ids that fit into a cursor.

    Polls show the other posts of the page again. This happens only to a page of more than 40 posts,
    when the watermark has not moved for an hour.
    """
    count = len(shown)
    while not _fits(Newer(position, tuple(shown[:count]))):
        count -= 1
    return tuple(shown[:count])


def _page(kind: Kind, items: list[Item], older: Older | None, newer: Newer) -> Page[bytes]:
    json = [item.json for item in items]
    is_young = bool(newer.shown) or newer.position == 0
    return Page(json, encode(kind, older) if older else None, encode(kind, newer), is_young)


def _from_base64(text: str) -> bytes:
    if not text:
        raise BadCursor("it is empty")
    if len(text) > _MAX_READ_LENGTH:
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
