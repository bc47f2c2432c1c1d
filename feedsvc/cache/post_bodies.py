"""`post:<id>`: the author and the JSON of a post, serialised once.

A page concatenates these JSON texts.

A deleted post is stored as gone, so a feed that still has its id costs no SQL. An id that never was
a post leaves nothing in Redis.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from marshmallow import Schema, fields
from sqlalchemy import Row, bindparam, select

from feedsvc import post_ids
from feedsvc.formats import rfc3339_ms
from feedsvc.store.near_cache.snapshot import GONE, Body
from feedsvc.store.redis import invalidation_log, keys, leases
from feedsvc.store.redis.round_trip import read_strings
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feedsvc.store import Stores
    from feedsvc.store.near_cache.snapshot import Snapshot

_TTL_SECONDS = 7 * 86_400
_AUTHOR_BYTES = 8
_GONE = b""


class PostSchema(Schema):
    """A post as every client sees it."""

    id = fields.String(required=True, metadata={"example": "385942118400001"})
    author_id = fields.String(required=True)
    photo_url = fields.String(required=True)
    description = fields.String(required=True)
    created_at = fields.Function(lambda row: rfc3339_ms(post_ids.ms_of(row.id)))


class PostRow(NamedTuple):
    """The columns of a post that clients see."""

    id: int
    author_id: int
    photo_url: str
    description: str


_SCHEMA = PostSchema()
_COLUMNS = (Post.id, Post.author_id, Post.photo_url, Post.description)
_ROWS = select(*_COLUMNS, Post.deleted_at).where(Post.id.in_(bindparam("posts", expanding=True)))


def read(stores: Stores, ids: Sequence[int]) -> list[Body | None]:
    """Return posts in the order of their ids; None for a post that is deleted or never was.

    Takes one round trip if Redis has all posts, otherwise up to three and one SQL query.
    """
    if not ids:
        return []
    names = [keys.post(post_id) for post_id in ids]
    values = dict(enumerate(map(leases.valid, read_strings(stores.redis, names))))
    missing = [index for index, value in values.items() if value is None]
    if missing:

        def build(unbuilt: list[int]) -> list[bytes | None]:
            return _read_sql(stores, [ids[missing[index]] for index in unbuilt])

        absent = [names[index] for index in missing]
        built = leases.read_or_build(stores.redis, absent, build, _TTL_SECONDS)
        values.update(zip(missing, built, strict=True))
    return [_unpack(value or _GONE) for value in values.values()]


def read_as_of(stores: Stores, snapshot: Snapshot, ids: Sequence[int]) -> list[Body | None]:
    """Like `read`, but served from this process's near cache as of `snapshot`.

    Only misses cost a round trip.
    """
    found = stores.near_cache.get_bodies(snapshot, ids)
    missing = [post_id for post_id, body in zip(ids, found, strict=True) if body is None]
    if missing:
        bodies = (body or GONE for body in read(stores, missing))
        fetched = dict(zip(missing, bodies, strict=True))
        stores.near_cache.store_bodies(snapshot, fetched)
        found = [
            fetched[post_id] if body is None else body
            for post_id, body in zip(ids, found, strict=True)
        ]
    return [None if body is GONE else body for body in found]


def forget(stores: Stores, ids: Sequence[int]) -> None:
    """Drop the bytes of posts that were edited or deleted, in Redis and in every near cache."""
    if ids:
        stores.redis.delete(*map(keys.post, ids))
        invalidation_log.add_changed_posts(stores.redis, ids)


def stored_authors(stores: Stores, ids: Sequence[int]) -> dict[int, int | None]:
    """Return the authors of the posts that Redis has; None for a post stored as gone.

    Build no absent view.
    """
    if not ids:
        return {}
    values = read_strings(stores.redis, [keys.post(post_id) for post_id in ids])
    found = {
        post_id: _unpack(value)
        for post_id, value in zip(ids, map(leases.valid, values), strict=True)
        if value is not None
    }
    return {post_id: body and body.author_id for post_id, body in found.items()}


def serialise(post: PostRow | Row[*tuple[Any, ...]]) -> bytes:
    """Return the JSON of one post."""
    return json.dumps(_SCHEMA.dump(post), ensure_ascii=False, separators=(",", ":")).encode()


def _read_sql(stores: Stores, ids: Sequence[int]) -> list[bytes | None]:
    """Return the bytes of posts; None for an id that never was a post."""
    with stores.sql.reading() as connection:
        packed = {row.id: _pack(row) for row in connection.execute(_ROWS, {"posts": ids})}
    return [packed.get(post_id) for post_id in ids]


def _pack(row: Row[*tuple[Any, ...]]) -> bytes:
    if row.deleted_at is not None:
        return _GONE
    author: int = row.author_id
    return author.to_bytes(_AUTHOR_BYTES, "little") + serialise(row)


def _unpack(value: bytes) -> Body | None:
    if value == _GONE:
        return None
    return Body(int.from_bytes(value[:_AUTHOR_BYTES], "little"), value[_AUTHOR_BYTES:])
