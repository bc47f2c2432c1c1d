"""The whole graph of the database, in memory, for a replay."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.errors import FeedsvcError
from feedsvc.graph import followers
from feedsvc.planning.replay.follow_graph import FollowGraph, follow_graph_of
from feedsvc.store.sql.tables import Account, Post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from feedsvc.store import Stores


class NoAccounts(FeedsvcError):
    """There is no graph to work on."""

    def __init__(self) -> None:
        super().__init__(
            "There are no accounts. Load a graph first: graph import FILE, or graph generate --accounts N."
        )


def load(stores: Stores, progress: Callable[[int, int], None] = lambda *_: None) -> FollowGraph:
    """Everybody, whom they follow, and how often they have posted; `progress` gets the follows read so far, and all of them.

    Raises `NoAccounts`. Reads the whole graph.
    """
    with stores.sql.reading() as connection:
        rows = connection.execute(_ACCOUNTS).all()
        if not rows:
            raise NoAccounts
        follows = sum(row.follower_count for row in rows)
        posts = {row.author_id: row.posts for row in connection.execute(_POSTS)}
        return follow_graph_of(
            array("q", (row.id for row in rows)),
            _followers(stores, connection, lambda done: progress(done, follows)),
            last_routes=[row.last_route for row in rows],
            posts=array("I", (posts.get(row.id, 0) for row in rows)),
        )


_ACCOUNTS = (
    sa.select(Account.id, Account.last_route, Account.follower_count)
    .where(~Account.deleting)
    .order_by(Account.id)
)
_POSTS = (
    sa.select(Post.author_id, sa.func.count().label("posts"))
    .where(Post.deleted_at.is_(None))
    .group_by(Post.author_id)
)


def _followers(
    stores: Stores, connection: Connection, progress: Callable[[int], None]
) -> Iterator[tuple[int, Iterator[int]]]:
    done = 0
    for followee, joined in followers.of_all(stores, connection):
        their_ids = joined.split(",")
        yield followee, map(int, their_ids)
        done += len(their_ids)
        progress(done)
