"""Deliver small fan-outs together, in micro-batches.

A small fan-out has few pushes. Most of its cost is fixed: one message, the queries and one write.
So an upload by a small account requests a micro-batch, unless one has been requested already. Half
a second later the micro-batch delivers the small fan-outs that wait: up to 200 posts and, together,
up to one batch of followers. If the micro-batch is lost, the sweep sends a link for each of these
fan-outs, as for any stalled fan-out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import bindparam, select, update

from feedsvc.fanout import done, queues, slices
from feedsvc.fanout.chain import STALLED_AFTER
from feedsvc.graph import followers
from feedsvc.store.redis import delivery
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import Account, Fanout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from feedsvc.store import Stores

_log = structlog.get_logger()

# The most posts in one micro-batch. A post that is alone in a micro-batch costs a worker 4.6 ms.
# One of 200 posts costs 0.2 ms (docs/decisions/0015).
MAX_POSTS = 200

_WAITING = (
    select(Fanout.post_id, Fanout.author_id, Account.follower_count, db_time().label("now"))
    .join(Account, Account.id == Fanout.author_id)
    .where(
        Fanout.state == "pending", Fanout.lane_bounds.is_(None), Fanout.next_look_at.is_not(None)
    )
    .where(Account.follower_count <= bindparam("slice"))
    .order_by(Fanout.next_look_at)
    .limit(MAX_POSTS)
    .with_for_update(of=Fanout, skip_locked=True)
)
_CLAIM = (
    update(Fanout)
    .where(Fanout.post_id.in_(bindparam("posts", expanding=True)))
    .values(state="running", started_at=db_time(), next_look_at=db_time(STALLED_AFTER))
)


def run(stores: Stores) -> bool:
    """Deliver the waiting small fan-outs, the oldest first.

    Returns True if other small fan-outs may still wait. Clears the request flag first and queries
    second. An upload commits first and reads the flag second. So if the upload read the flag before
    this call cleared it, the query finds its post. Otherwise the upload sets the flag again.
    """
    with stores.usage.timed("micro-batch") as work:
        queues.clear_request(stores)
        waiting, is_all = _claim(stores)
        if waiting:
            work.size, work.extra = len(waiting), _deliver(stores, waiting)
    return not is_all


def _deliver(stores: Stores, waiting: Sequence[Row[*tuple[Any, ...]]]) -> int:
    """Deliver claimed fan-outs. Returns the number of their followers."""
    with stores.sql.reading() as connection:
        found = followers.of_each(stores, connection, {row.author_id for row in waiting})
    posts = [(row.post_id, row.author_id, found.get(row.author_id, ())) for row in waiting]
    touched: dict[int, list[int]] = {}
    # If the oldest post is no longer young, each post is a round trip of its own, so that Redis
    # serves readers in between.
    for group in [posts] if slices.is_young(waiting[0].post_id) else [[post] for post in posts]:
        touched |= delivery.deliver_whole(stores, group)
    done.write(stores, {row.post_id: () for row in waiting}, waiting[0].now, touched)
    _log.info("fanout.micro_batch_delivered", posts=len(waiting))
    return sum(len(each) for _, _, each in posts)


def _claim(stores: Stores) -> tuple[Sequence[Row[*tuple[Any, ...]]], bool]:
    """Claim the fan-outs of one micro-batch.

    Returns the claimed fan-outs, and True if the query found no others. If an author has more than
    `fanout_slice` followers by now, the fan-out is not claimed. The sweep sends it 10 s after the
    upload (`STALLED_AFTER`).
    """
    with stores.sql.writing() as connection:
        rows = connection.execute(_WAITING, {"slice": stores.limits.fanout_slice}).all()
        claimed = _first_batch(rows, stores.limits.fanout_batch)
        if claimed:
            connection.execute(_CLAIM, {"posts": [row.post_id for row in claimed]})
    return claimed, len(claimed) == len(rows) < MAX_POSTS


def _first_batch(
    rows: Sequence[Row[*tuple[Any, ...]]], most: int
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return the longest run of first rows whose followers sum to at most `most`.

    Returns at least one row, if there is any.
    """
    total = 0
    for number, row in enumerate(rows):
        total += row.follower_count
        if total > most and number > 0:
            return rows[:number]
    return rows
