"""Pages of lists and their cursors. Pure.

A cursor holds the kind of its list, a direction and a position. A cursor that walks a list of posts
upwards also holds the ids above the position that were already shown. A cursor holds no secret and
survives restarts. Its checksum detects a damaged or mistyped cursor, its kind one of another list.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

from feedsvc.errors import BadCursor
from feedsvc.formats import MAX_ID

T = TypeVar("T")

# The number of items on a page if the client names no limit.
DEFAULT_LIMIT = 20

_VERSION = 1
_CHECKSUM_BYTES = 4
_MAX_LENGTH = 8_192


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
    """One page of a list, newest first. `next_cursor` is None exactly when nothing older is left."""

    items: list[T]
    next_cursor: str | None
    prev_cursor: str


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
    if len(body) < 2 or _checksum(body) != checksum or body[0] != _VERSION:  # noqa: PLR2004 -- two bytes: version and kind
        raise BadCursor("it is damaged or cut short")
    if body[1] != kind:
        raise BadCursor("it belongs to another list")
    direction, *steps = _numbers(body[2:]) or [0]
    position, *shown = accumulate(steps or [MAX_ID + 2])
    lowest, highest = (1, MAX_ID + 1) if direction == 0 else (0, MAX_ID)
    if position < lowest or max(position, *shown, 0) > highest:
        raise BadCursor("its position is out of range")
    return Older(position) if direction == 0 else Newer(position, tuple(shown))


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
    while number > 0x7F:  # noqa: PLR2004 -- seven bits a byte; the eighth bit means that another byte follows
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
