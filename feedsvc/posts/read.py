"""Read single posts. `viewer=None` means the backend of the app, which no author blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.cache import post_bodies
from feedsvc.errors import NotFound
from feedsvc.graph import hiding

if TYPE_CHECKING:
    from feedsvc.store import Stores


def one(stores: Stores, viewer: int | None, post_id: int) -> bytes:
    """Return the JSON of one post. Raises `NotFound`, also if the author blocks the viewer."""
    found = many(stores, viewer, [post_id])
    if not found:
        raise NotFound("post", post_id)
    return found[0]


def many(stores: Stores, viewer: int | None, post_ids: list[int]) -> list[bytes]:
    """Return the JSON of the posts that the viewer may see, in the order of `post_ids`.

    Leaves out the posts of accounts that are being deleted.
    """
    found = [body for body in post_bodies.read(stores, post_ids) if body is not None]
    if not found:
        return []
    # Read SQL after the bytes: a block or a deletion that was answered before this read counts.
    with stores.sql.reading() as connection:
        authors = list({body.author_id for body in found})
        visible = hiding.visible_among(connection, viewer, authors)
    return [body.json for body in found if body.author_id in visible]
