"""Hold the follow graph in memory.

It takes 28 bytes an account and 4 bytes a follow (the items of its arrays). So a million accounts
with 15 million follows take 88 MB. An account's number, 0 … n-1, is its place in the ascending
order of ids.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feedsvc.errors import FeedsvcError
from feedsvc.graph import followers
from feedsvc.store.sql.tables import Account, Post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from feedsvc.routing.policy import Route
    from feedsvc.store import Stores

_ACCOUNTS = (
    sa.select(Account.id, Account.last_route, Account.follower_count)
    .where(~Account.deleting)
    .order_by(Account.id)
)
_POST_COUNTS = (
    sa.select(Post.author_id, sa.func.count().label("posts"))
    .where(Post.deleted_at.is_(None))
    .group_by(Post.author_id)
)


class NoAccounts(FeedsvcError):
    """The database has no accounts, so there is no graph to replay on."""

    def __init__(self) -> None:
        super().__init__(
            "There are no accounts. "
            "Load a graph first: graph import FILE, or graph generate --accounts N."
        )


@dataclass(frozen=True)
class FollowGraph:
    """Accounts in ascending order of ids, and the followers of each account.

    `flat[starts[n]:starts[n + 1]]` holds the numbers of the followers of account number n.
    """

    ids: array[int]
    starts: array[int]
    flat: array[int]
    # The route of each account's latest post that load shedding did not pull; None without one.
    last_routes: Sequence[Route | None]
    # How many posts each account has.
    posts: array[int]

    def __len__(self) -> int:
        return len(self.ids)

    def followers(self, number: int) -> array[int]:
        """Return the numbers of an account's followers."""
        return self.flat[self.starts[number] : self.starts[number + 1]]

    def follower_count(self, number: int) -> int:
        """Return how many followers an account has."""
        return self.starts[number + 1] - self.starts[number]


def follow_graph_of(
    ids: Sequence[int],
    follows: Iterable[tuple[int, Iterable[int]]],
    *,
    last_routes: Sequence[Route | None],
    posts: array[int],
) -> FollowGraph:
    """Return the graph of accounts whose ids ascend.

    `follows`: pairs of a followee's id and its followers' ids, in ascending order of followees.
    A follow from or to an account outside `ids` is left out.
    """
    number_of = {ident: number for number, ident in enumerate(ids)}
    starts, flat = array("q", [0]), array("I")
    for followee, follower_ids in follows:
        number = number_of.get(followee)
        if number is None:
            continue
        starts.extend([len(flat)] * (number + 1 - len(starts)))
        flat.extend(each for each in map(number_of.get, follower_ids) if each is not None)
        starts.append(len(flat))
    starts.extend([len(flat)] * (len(ids) + 1 - len(starts)))
    return FollowGraph(array("q", ids), starts, flat, last_routes, posts)


def load(stores: Stores, progress: Callable[[int, int], None] = lambda *_: None) -> FollowGraph:
    """Read the whole follow graph from SQL. Raises `NoAccounts`.

    `progress` gets the number of follows read since its last call, and the number of all follows.
    """
    with stores.sql.reading() as connection:
        rows = connection.execute(_ACCOUNTS).all()
        if not rows:
            raise NoAccounts
        follows = sum(row.follower_count for row in rows)
        posts = {row.author_id: row.posts for row in connection.execute(_POST_COUNTS)}
        return follow_graph_of(
            array("q", (row.id for row in rows)),
            _followers(stores, connection, lambda read: progress(read, follows)),
            last_routes=[row.last_route for row in rows],
            posts=array("I", (posts.get(row.id, 0) for row in rows)),
        )


def _followers(
    stores: Stores, connection: Connection, progress: Callable[[int], None]
) -> Iterator[tuple[int, Iterator[int]]]:
    for followee, joined_ids in followers.of_all(stores, connection):
        follower_ids = joined_ids.split(",")
        yield followee, map(int, follower_ids)
        progress(len(follower_ids))
