"""Changing and deleting a post."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.changes import changing
from feedsvc.errors import Forbidden, NotFound
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout, Post
from feedsvc.views import bodies

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection

    from feedsvc.store import Stores


def edit(stores: Stores, author: int, post_id: int, *, description: str) -> bytes:
    """Give the post another description; returns its JSON. Raises `NotFound`, or `Forbidden` for somebody else's."""
    with changing(stores) as change:
        if _deleted_at(change.connection, author, post_id) is not None:
            raise NotFound("post", post_id)
        change.connection.execute(sa.update(Post).where(Post.id == post_id).values(description=description))
        change.owes("post edited", post_id)
        return bodies.serialise(change.connection.execute(sa.select(*bodies.COLUMNS).where(Post.id == post_id)).one())


def delete(stores: Stores, author: int, post_id: int) -> None:
    """Delete the post and end its fan-out; again is no error. Raises `NotFound`, or `Forbidden` for somebody else's."""
    with changing(stores) as change:
        if _deleted_at(change.connection, author, post_id) is None:
            gone = {"deleted_at": now(), "photo_url": "", "description": ""}
            change.connection.execute(sa.update(Post).where(Post.id == post_id).values(gone))
            ended = {"state": "done", "finished_at": now(), "next_look_at": None}
            change.connection.execute(sa.update(Fanout).where(Fanout.post_id == post_id, Fanout.state != "done").values(ended))
        change.owes("post deleted", author, post_id)


def _deleted_at(connection: Connection, author: int, post_id: int) -> dt.datetime | None:
    """When the author's own post was deleted, None if it was not; the row is held."""
    query = sa.select(Post.author_id, Post.deleted_at).where(Post.id == post_id).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("post", post_id)
    if row.author_id != author:
        raise Forbidden(f"Post {post_id} belongs to another account.")
    deleted_at: dt.datetime | None = row.deleted_at
    return deleted_at
