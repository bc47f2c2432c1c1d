"""`post:<id>`: a post's author and its JSON, made once by marshmallow; a page is a join of such bytes.

A deleted post is remembered as gone: a feed that still holds its id costs no SQL.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, NamedTuple

from marshmallow import Schema, fields
from sqlalchemy import Row, select

from feedsvc.store.redis import keys, leases
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from feedsvc.store import Stores

_TTL_SECONDS = 7 * 86_400
_AUTHOR_BYTES = 8
_GONE = b""

# Milliseconds since 1970 at which post ids begin: 2024-01-01. An id is 41 bits of milliseconds since then and 12 bits that differ.
EPOCH_MS = 1_704_067_200_000
ID_BITS_BELOW_MS = 12


class PostSchema(Schema):
    """A post as every client sees it."""

    id = fields.String(required=True)
    author_id = fields.String(required=True)
    photo_url = fields.String(required=True)
    description = fields.String(required=True)
    created_at = fields.Function(lambda row: created_at(row.id))


class Body(NamedTuple):
    """One post, ready to be sent."""

    author_id: int
    json: bytes


_SCHEMA = PostSchema()
COLUMNS = (Post.id, Post.author_id, Post.photo_url, Post.description)


def read(stores: Stores, post_ids: Sequence[int]) -> list[Body | None]:
    """The posts of these ids, in their order; None for one that is deleted or never was. One round trip if all are cached."""
    if not post_ids:
        return []
    names = [keys.post(post_id) for post_id in post_ids]
    values = [leases.valid(raw) for raw in stores.redis.mget(names)]
    missing = [index for index, value in enumerate(values) if value is None]
    if missing:
        built = _read_or_build(stores, [post_ids[index] for index in missing])
        for index, value in zip(missing, built, strict=True):
            values[index] = value
    return [_unpack(value) for value in values if value is not None]


def serialise(row: Row[int, int, str, str]) -> bytes:
    """The JSON of one row of `COLUMNS`."""
    return json.dumps(_SCHEMA.dump(row), ensure_ascii=False, separators=(",", ":")).encode()


def created_at(post_id: int) -> str:
    """The time in a post's id, RFC 3339, to the millisecond."""
    ms = (post_id >> ID_BITS_BELOW_MS) + EPOCH_MS
    time = dt.datetime.fromtimestamp(ms // 1000, dt.UTC).replace(microsecond=ms % 1000 * 1000)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_or_build(stores: Stores, post_ids: Sequence[int]) -> list[bytes]:
    def build(missing: list[int]) -> list[bytes]:
        return _from_sql(stores, [post_ids[index] for index in missing])

    return leases.read_or_build(stores.redis, [keys.post(post_id) for post_id in post_ids], build, _TTL_SECONDS)


def _from_sql(stores: Stores, post_ids: Iterable[int]) -> list[bytes]:
    wanted = list(post_ids)
    with stores.sql.reading() as connection:
        rows = connection.execute(select(*COLUMNS).where(Post.id.in_(wanted), Post.deleted_at.is_(None)))
        packed = {row.id: row.author_id.to_bytes(_AUTHOR_BYTES, "little") + serialise(row) for row in rows}
    return [packed.get(post_id, _GONE) for post_id in wanted]


def _unpack(value: bytes) -> Body | None:
    if value == _GONE:
        return None
    return Body(int.from_bytes(value[:_AUTHOR_BYTES], "little"), value[_AUTHOR_BYTES:])
