"""`post:<id>`: a post's author and its JSON, made once by marshmallow; a page is a join of such bytes.

A deleted post is remembered as gone: a feed that still holds its id costs no SQL.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from marshmallow import Schema, fields
from sqlalchemy import Row, bindparam, select

from feedsvc import post_ids
from feedsvc.formats import rfc3339_ms
from feedsvc.store.near_cache.snapshot import GONE, Body
from feedsvc.store.redis import invalidation_log, keys, leases
from feedsvc.store.redis.round_trip import read_strings
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
_ROWS = select(*_COLUMNS).where(
    Post.id.in_(bindparam("posts", expanding=True)), Post.deleted_at.is_(None)
)


def read(stores: Stores, post_ids: Sequence[int]) -> list[Body | None]:
    """The posts of these ids, in their order; None for one that is deleted or never was. One round trip if all are cached."""
    if not post_ids:
        return []
    names = [keys.post(post_id) for post_id in post_ids]
    values = [leases.valid(raw) for raw in read_strings(stores.redis, names)]
    if None in values:
        missing = [index for index, value in enumerate(values) if value is None]
        built = _read_or_build(stores, [post_ids[index] for index in missing])
        for index, value in zip(missing, built, strict=True):
            values[index] = value
    return [_unpack(value) for value in values if value is not None]


def read_held(stores: Stores, known: Snapshot, post_ids: Sequence[int]) -> list[Body | None]:
    """The same for a reader that knew this much; none but the first to ask for a post in this process needs a round trip for it."""
    found = stores.near_cache.bodies(known, post_ids)
    if None in found:
        missing = [index for index, body in enumerate(found) if body is None]
        fetched = {
            post_ids[index]: body
            for index, body in zip(
                missing, read(stores, [post_ids[index] for index in missing]), strict=True
            )
        }
        stores.near_cache.hold_bodies(
            known, {post_id: body or GONE for post_id, body in fetched.items()}
        )
        for index in missing:
            found[index] = fetched[post_ids[index]]
    return [None if body is GONE else body for body in found]


def forget(stores: Stores, post_ids: Sequence[int]) -> None:
    """These posts were edited or deleted: nobody shows them any more as they were."""
    if post_ids:
        stores.redis.delete(*map(keys.post, post_ids))
        invalidation_log.tell_of_changed_posts(stores.redis, post_ids)


def stored_authors(stores: Stores, post_ids: Sequence[int]) -> dict[int, int | None]:
    """The authors of those of these posts that are cached; None for one that is remembered as gone. Stores nothing."""
    if not post_ids:
        return {}
    names = [keys.post(post_id) for post_id in post_ids]
    values = map(leases.valid, read_strings(stores.redis, names))
    found = {
        post_id: _unpack(value)
        for post_id, value in zip(post_ids, values, strict=True)
        if value is not None
    }
    return {post_id: body and body.author_id for post_id, body in found.items()}


def serialise(post: PostRow | Row[int, int, str, str]) -> bytes:
    """Return the JSON of one post."""
    return json.dumps(_SCHEMA.dump(post), ensure_ascii=False, separators=(",", ":")).encode()


def _read_or_build(stores: Stores, post_ids: Sequence[int]) -> list[bytes]:
    def build(missing: list[int]) -> list[bytes]:
        return _from_sql(stores, [post_ids[index] for index in missing])

    return leases.read_or_build(
        stores.redis, [keys.post(post_id) for post_id in post_ids], build, _TTL_SECONDS
    )


def _from_sql(stores: Stores, post_ids: Iterable[int]) -> list[bytes]:
    wanted = list(post_ids)
    with stores.sql.reading() as connection:
        rows = connection.execute(_ROWS, {"posts": wanted})
        packed = {
            row.id: row.author_id.to_bytes(_AUTHOR_BYTES, "little") + serialise(row) for row in rows
        }
    return [packed.get(post_id, _GONE) for post_id in wanted]


def _unpack(value: bytes) -> Body | None:
    if value == _GONE:
        return None
    return Body(int.from_bytes(value[:_AUTHOR_BYTES], "little"), value[_AUTHOR_BYTES:])
