"""Edit and delete a post. `author=None` means the backend of the app, which may change any post."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from feedsvc import outbox
from feedsvc.cache import post_bodies
from feedsvc.errors import Forbidden, NotFound
from feedsvc.graph import accounts, hiding
from feedsvc.outbox import PostEdited, PostsDeleted
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from feedsvc.store import Stores


def edit(stores: Stores, author: int | None, post_id: int, *, description: str) -> bytes:
    """Change the description of a post. Returns the post's JSON.

    Raises `NotFound`, or `Forbidden` for a post of another author.
    """
    with outbox.transaction(stores) as transaction:
        connection = transaction.connection
        post = _lock(connection, author, post_id)
        if post.deleted_at is not None:
            raise NotFound("post", post_id)
        connection.execute(
            sa.update(Post).where(Post.id == post_id).values(description=description)
        )
        transaction.add(PostEdited(post_id))
        return post_bodies.serialise(
            post_bodies.PostRow(post_id, post.author_id, post.photo_url, description)
        )


def delete(stores: Stores, author: int | None, post_id: int) -> None:
    """Delete a post and end its fan-out. A repeated deletion succeeds.

    Raises `NotFound`, or `Forbidden` for a post of another author.
    """
    with outbox.transaction(stores) as transaction:
        connection = transaction.connection
        post = _lock(connection, author, post_id)
        if post.deleted_at is None:
            deleted = {"deleted_at": db_time(), "photo_url": "", "description": ""}
            connection.execute(sa.update(Post).where(Post.id == post_id).values(deleted))
            ended = {
                "state": "done",
                "finished_at": sa.func.coalesce(Fanout.finished_at, db_time()),
                "next_look_at": None,
            }
            connection.execute(sa.update(Fanout).where(Fanout.post_id == post_id).values(ended))
        transaction.add(PostsDeleted(post.author_id, [post_id]))


def _lock(connection: Connection, author: int | None, post_id: int) -> Row[*tuple[Any, ...]]:
    """Lock the row of a post until the transaction ends, and return it.

    Raises `NotFound`, also if the post is hidden from the caller. Raises `Forbidden` for a post of
    another author, and `Conflict` while the author's account is being deleted.
    """
    columns = (Post.author_id, Post.photo_url, Post.deleted_at)
    row = connection.execute(
        sa.select(*columns).where(Post.id == post_id).with_for_update()
    ).first()
    if row is None:
        raise NotFound("post", post_id)
    if author in (None, row.author_id):
        accounts.refuse_deleting(connection, [row.author_id])
    elif not hiding.visible_among(connection, author, [row.author_id]):
        raise NotFound("post", post_id)
    else:
        raise Forbidden(f"Post {post_id} belongs to another account.")
    return row
