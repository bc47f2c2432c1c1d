"""Small fan-outs, many at a time: what one costs is its message, its queries and its write, not its few pushes.

An upload by a small account asks for a round of small fan-outs, unless one is asked for already; a little later a round takes all
that wait, up to one batch of followers. Whatever is lost on the way, the sweep drives link by link, as any fan-out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import bindparam, select, update

from feedsvc.fanout import done, pace
from feedsvc.fanout.chain import LOOK_AFTER
from feedsvc.graph import followers
from feedsvc.store.redis import delivery, keys
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Fanout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from feedsvc.store import Stores

_log = structlog.get_logger()

# Posts of one round: enough that the round's own cost no longer counts.
MAX_POSTS = 200
# How long a round that was asked for waits for more posts; so few seconds that they are still young (`pace`).
# What it costs nobody and saves is in docs/decisions/0015.
GATHER_SECONDS = 0.5
# A round that was asked for and lost is asked for again after this long.
_ASKED_SECONDS = 2

_WAITING = (
    select(Fanout.post_id, Fanout.author_id, Account.follower_count)
    .join(Account, Account.id == Fanout.author_id)
    .where(
        Fanout.state == "pending", Fanout.lane_bounds.is_(None), Fanout.next_look_at.is_not(None)
    )
    .where(Account.follower_count <= bindparam("slice"))
    .order_by(Fanout.next_look_at)
    .limit(MAX_POSTS)
    .with_for_update(of=Fanout, skip_locked=True)
)
_CLAIMED = (
    update(Fanout)
    .where(Fanout.post_id.in_(bindparam("posts", expanding=True)))
    .values(state="running", started_at=bindparam("started"), next_look_at=bindparam("look"))
)


def is_small(stores: Stores, follower_count: int) -> bool:
    """Whether a fan-out to so many followers is one slice, and so delivered in a round."""
    return follower_count <= stores.limits.fanout_slice


def ask(stores: Stores) -> bool:
    """Whether a round has to be enqueued, to begin in `GATHER_SECONDS`: nobody else has asked for one that has not begun."""
    return bool(stores.redis.set(keys.SMALL_FANOUTS, 1, nx=True, ex=_ASKED_SECONDS))


def run_round(stores: Stores) -> bool:
    """Deliver the small fan-outs that wait, the oldest first; returns whether there are more.

    Whoever finds the question asked has committed its post before: the question is taken back first, and then SQL is read.
    Whoever posts after that asks for a round of its own.
    """
    started = now()
    stores.redis.delete(keys.SMALL_FANOUTS)
    waiting, is_all = _claim(stores)
    if not waiting:
        return False
    with stores.sql.reading() as connection:
        found = followers.of_each(stores, connection, {row.author_id for row in waiting})
    posts = [(row.post_id, row.author_id, found.get(row.author_id, ())) for row in waiting]
    touched: dict[int, list[int]] = {}
    for some in [posts] if pace.is_young(waiting[0].post_id) else [[post] for post in posts]:
        touched |= delivery.deliver_whole(stores, some)
    done.write(stores, {row.post_id: () for row in waiting}, started, touched)
    _log.info("fanout.round_delivered", posts=len(waiting))
    return not is_all


def _claim(stores: Stores) -> tuple[Sequence[Row[*tuple[Any, ...]]], bool]:
    """The fan-outs of this round, running from now on, and whether these are all that wait.

    Of those whose author has outgrown a slice meanwhile, the sweep takes care.
    """
    with stores.sql.writing() as connection:
        rows = connection.execute(_WAITING, {"slice": stores.limits.fanout_slice}).all()
        round_ = _within(rows, stores.limits.fanout_batch)
        if round_:
            claimed = {
                "posts": [row.post_id for row in round_],
                "started": now(),
                "look": now() + LOOK_AFTER,
            }
            connection.execute(_CLAIMED, claimed)
    return round_, len(round_) == len(rows) < MAX_POSTS


def _within(rows: Sequence[Row[*tuple[Any, ...]]], most: int) -> Sequence[Row[*tuple[Any, ...]]]:
    """The first of these whose followers are no more than a batch together, but one at least."""
    followers_so_far = 0
    for number, row in enumerate(rows):
        followers_so_far += row.follower_count
        if followers_so_far > most and number > 0:
            return rows[:number]
    return rows
