"""Changing and deleting a post. An author of None is the app's backend, which may change anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.cache import post_bodies
from feedsvc.errors import Forbidden, NotFound
from feedsvc.outbox import PostEdited, PostsDeleted
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores


def edit(stores: Stores, author: int | None, post_id: int, *, description: str) -> bytes:
    """Give the post another description; returns its JSON. Raises `NotFound`, or `Forbidden` for somebody else's."""
    with outbox.transaction(stores) as transaction:
        if _held(transaction.connection, author, post_id).deleted_at is not None:
            raise NotFound("post", post_id)
        transaction.connection.execute(
            sa.update(Post).where(Post.id == post_id).values(description=description)
        )
        transaction.add(PostEdited(post_id))
        return post_bodies.serialise(
            transaction.connection.execute(
                sa.select(*post_bodies.COLUMNS).where(Post.id == post_id)
            ).one()
        )


def delete(stores: Stores, author: int | None, post_id: int) -> None:
    """Delete the post and end its fan-out; again is no error. Raises `NotFound`, or `Forbidden` for somebody else's."""
    with outbox.transaction(stores) as transaction:
        post = _held(transaction.connection, author, post_id)
        if post.deleted_at is None:
            gone = {"deleted_at": now(), "photo_url": "", "description": ""}
            transaction.connection.execute(sa.update(Post).where(Post.id == post_id).values(gone))
            ended = {
                "state": "done",
                "finished_at": sa.func.coalesce(Fanout.finished_at, now()),
                "next_look_at": None,
            }
            transaction.connection.execute(
                sa.update(Fanout).where(Fanout.post_id == post_id).values(ended)
            )
        transaction.add(PostsDeleted(post.author_id, [post_id]))


def _held(connection: Connection, author: int | None, post_id: int) -> Row[int, dt.datetime | None]:
    """The author of a post and when it was deleted; held until the transaction ends."""
    query = sa.select(Post.author_id, Post.deleted_at).where(Post.id == post_id).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("post", post_id)
    if author not in (None, row.author_id):
        raise Forbidden(f"Post {post_id} belongs to another account.")
    return row
