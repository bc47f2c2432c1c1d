"""`celebrity-posts:<author>` and `celebrities`: every post that is not in the home feeds, or not in all of them yet.

A post is put here after its commit and before its upload returns: from then on every follower's read finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from feedsvc.store.redis import celebrities, keys, lists, recent
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.sql.tables import Post
from feedsvc.views import timeline

if TYPE_CHECKING:
    from feedsvc.store import Stores
    from feedsvc.store.redis.known import Known

_IS_LISTED = select(Post.id).where(Post.id == bindparam("post"), Post.pushed_at.is_(None), Post.deleted_at.is_(None))


def put(stores: Stores, author: int, post_id: int) -> None:
    """Put a post on its author's list, and the author among the celebrities. A list that was absent is finished from SQL."""
    key = keys.celebrity_posts(author)
    marker = lists.put(stores.redis, key, post_id, stores.limits)
    celebrities.put(stores.redis, author, post_id)
    if marker is not None:
        lists.finish(stores.redis, key, marker, _from_sql(stores, author), stores.limits)


def put_if_listed(stores: Stores, author: int, post_id: int) -> None:
    """Put a post on the list, perhaps once more, if SQL says that it belongs there."""
    if _is_listed(stores, post_id):
        put(stores, author, post_id)


def take_off(stores: Stores, author: int, post_id: int) -> None:
    """Take a post off that every feed has, or that is deleted; and its author out of the celebrities if nothing is left."""
    number = celebrities.number_of(stores.redis, author)
    empty = lists.take_off(stores.redis, keys.celebrity_posts(author), post_id)
    if empty and number is not None:
        celebrities.remove(stores.redis, author, number)
    # Whoever put it back meanwhile, or declared it unfinished, is not undone by us.
    put_if_listed(stores, author, post_id)


def rebuild(stores: Stores, author: int) -> FloorList:
    """The author's list, read from SQL now; stored, unless something has changed meanwhile."""
    return lists.build(stores.redis, keys.celebrity_posts(author), stores.limits, lambda: _from_sql(stores, author))


def renew(stores: Stores, author: int) -> None:
    """Throw the author's list away and make it again, and put the author among the celebrities if anything is on it."""
    stores.redis.delete(keys.celebrity_posts(author))
    if rebuild(stores, author).ids:
        celebrities.put(stores.redis, author)


def reload(stores: Stores) -> Known:
    """Begin the copies of this process anew."""
    marker, number = recent.latest(stores.redis)
    return stores.copies.reload(marker, number, _authors(stores))


def prune(stores: Stores, known: Known) -> None:
    """Forget the authors that have nothing on their list any more; as often as they have doubled."""
    if stores.copies.are_many():
        stores.copies.keep_only(known, _authors(stores))


def _authors(stores: Stores) -> frozenset[int]:
    """The authors with anything on their list: from the set, or from SQL, if the set is absent or being built."""
    found = celebrities.read(stores.redis)
    if found is not None:
        return found
    marker = celebrities.open_to_build(stores.redis)
    with stores.sql.reading() as connection:
        authors = timeline.listed_authors(connection)
    if marker is not None:
        celebrities.finish(stores.redis, marker, authors)
    return frozenset(authors)


def _from_sql(stores: Stores, author: int) -> FloorList:
    cap = stores.limits.feed_cap
    with stores.sql.reading() as connection:
        return FloorList.of_newest(timeline.listed(connection, author, cap + 1), cap)


def _is_listed(stores: Stores, post_id: int) -> bool:
    with stores.sql.reading() as connection:
        return connection.scalar(_IS_LISTED, {"post": post_id}) is not None
