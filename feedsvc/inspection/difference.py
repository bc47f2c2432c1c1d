"""What is said of a difference between a feed and the database, and how the feed is repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from feedsvc.cache import celebrity_lists, post_bodies
from feedsvc.graph import followers
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from collections.abc import Collection

    from feedsvc.store import Stores

Kind = Literal["missing", "extra"]


@dataclass(frozen=True)
class Difference:
    """A post that a viewer's feed lacks, or shows though it does not belong there; and by which way it came or should have.

    What is not known of a post that the database has not is None. `batch` counts the batches of the fan-out from 1, as the
    followers are now; None if none of them carries the viewer.
    """

    viewer: int
    post_id: int
    kind: Kind
    author_id: int | None
    route: str | None
    policy_version: int | None
    state: str | None
    batch: int | None


def describe(stores: Stores, viewer: int, post_id: int, kind: Kind) -> Difference:
    """All there is to say of one difference."""
    columns = sa.select(Post.author_id, Post.route, Post.policy_version, Fanout.state)
    with stores.sql.reading() as connection:
        row = connection.execute(
            columns.outerjoin(Fanout, Fanout.post_id == Post.id).where(Post.id == post_id)
        ).first()
        if row is None:
            return Difference(viewer, post_id, kind, None, None, None, None, None)
        # The author's own feed goes with the very first slice.
        batch = (
            1
            if viewer == row.author_id
            else followers.batch_number(stores, connection, row.author_id, viewer)
        )
    return Difference(
        viewer,
        post_id,
        kind,
        row.author_id,
        row.route,
        row.policy_version,
        row.state,
        batch if row.route == "push" else None,
    )


def repair(stores: Stores, viewer: int, differences: Collection[Difference]) -> None:
    """Throw the viewer's feed away, and with it all else that may have caused the differences: the next read makes it again."""
    post_bodies.forget(stores, [difference.post_id for difference in differences])
    stores.redis.delete(stores.keys.homefeed(viewer), stores.keys.relations(viewer))
    for author in {difference.author_id for difference in differences if _is_listed(difference)}:
        if author is not None:
            celebrity_lists.renew(stores, author)


def _is_listed(difference: Difference) -> bool:
    """Whether the post was missing from its author's celebrity list."""
    return difference.kind == "missing" and (
        difference.route == "pull" or difference.state != "done"
    )
