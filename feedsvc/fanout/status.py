"""A fan-out as people see it: the hash in Redis while it runs, the row once it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from feedsvc.errors import NotFound
from feedsvc.fanout import done
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    import datetime as dt

    from feedsvc.store import Stores


@dataclass(frozen=True)
class FanoutStatus:
    """`followers` is an estimate until it is done, then `delivered + skipped`."""

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
    """The fan-out of one post. Raises `NotFound`."""
    with stores.sql.reading() as connection:
        columns = (Post.route, Post.policy_version, *Fanout.__table__.columns)
        row = connection.execute(
            select(*columns).join(Post, Post.id == Fanout.post_id).where(Fanout.post_id == post_id)
        ).first()
    if row is None:
        raise NotFound("fan-out of post", post_id)
    counted = (
        row
        if row.state == "done"
        else done.total(done.progress(stores, {post_id: row.lane_bounds or ()}, {})[post_id])
    )
    return FanoutStatus(
        post_id,
        row.route,
        row.policy_version,
        row.state,
        row.followers,
        counted.delivered,
        counted.skipped,
        counted.batches,
        row.started_at,
        row.finished_at,
    )
