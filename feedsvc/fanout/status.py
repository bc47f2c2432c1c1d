"""Return how far one fan-out is. The counts come from Redis until it is done, then from SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from feedsvc.errors import NotFound
from feedsvc.fanout import done
from feedsvc.store.redis.delivery import END, Progress
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    import datetime as dt

    from feedsvc.store import Stores


@dataclass(frozen=True)
class FanoutStatus:
    """How far a fan-out is.

    `followers` is the author's follower count at the upload. When the delivery is done, `followers`
    becomes `delivered + skipped`. A pulled post, and a post deleted before that, keeps the first
    number.
    """

    post_id: int
    route: str
    policy_version: int
    state: str
    followers: int
    delivered: int
    skipped: int
    batches: int
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


def status(stores: Stores, post_id: int) -> FanoutStatus:
    """Return the status of the fan-out of one post. Raises `NotFound`."""
    columns = (Post.route, Post.policy_version, *Fanout.__table__.columns)
    query = select(*columns).join(Post, Post.id == Fanout.post_id).where(Fanout.post_id == post_id)
    with stores.sql.reading() as connection:
        row = connection.execute(query).first()
    if row is None:
        raise NotFound("fan-out of post", post_id)
    if row.state == "done":
        counts = Progress(END, row.delivered, row.skipped, row.batches)
    else:
        counts = done.total(done.progress(stores, {post_id: row.lane_bounds or ()}, {})[post_id])
    return FanoutStatus(
        post_id,
        row.route,
        row.policy_version,
        row.state,
        row.followers,
        counts.delivered,
        counts.skipped,
        counts.batches,
        row.started_at,
        row.finished_at,
    )
