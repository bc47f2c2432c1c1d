"""`celebrity-posts:<author>` and `celebrities`: every post that is not in the home feeds, or not in all of them yet.

A post is put here after its commit and before its upload returns: from then on every follower's read finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from feedsvc.cache import feed_queries
from feedsvc.store.redis import celebrities, invalidation_log, keys, lists
from feedsvc.store.redis.lists import FloorList
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feedsvc.store import Stores
    from feedsvc.store.near_cache.snapshot import Snapshot

_POSTS = Post.id.in_(bindparam("posts", expanding=True))
_LISTED = select(Post.id, Post.author_id).where(
    _POSTS, Post.pushed_at.is_(None), Post.deleted_at.is_(None)
)


def put(stores: Stores, author: int, post_id: int) -> None:
    """Put a post on its author's list, and the author among the celebrities. A list that was absent is finished from SQL."""
    key = keys.celebrity_posts(author)
    marker = lists.put(stores.redis, key, post_id, stores.limits)
    celebrities.put(stores.redis, author, post_id)
    if marker is not None:
        lists.finish(stores.redis, key, marker, _from_sql(stores, author), stores.limits)


def put_listed(stores: Stores, post_ids: Sequence[int]) -> None:
    """Put on their lists, perhaps once more, those of these posts that SQL says belong there."""
    with stores.sql.reading() as connection:
        listed = connection.execute(_LISTED, {"posts": post_ids}).all()
    for row in listed:
        put(stores, row.author_id, row.id)


def take_off(stores: Stores, posts: Mapping[int, int]) -> None:
    """Take posts off that every feed has, or that are deleted; and authors out of the celebrities if nothing of theirs is left.

    `posts`: post -> its author.
    """
    celebrities.take_off(stores.redis, posts)
    # Whoever put one back meanwhile, or declared it unfinished, is not undone by us.
    put_listed(stores, list(posts))


def rebuild(stores: Stores, author: int) -> FloorList:
    """The author's list, read from SQL now; stored, unless something has changed meanwhile."""
    return lists.build(
        stores.redis, keys.celebrity_posts(author), stores.limits, lambda: _from_sql(stores, author)
    )


def renew(stores: Stores, author: int) -> None:
    """Throw the author's list away and make it again, and put the author among the celebrities if anything is on it."""
    stores.redis.delete(keys.celebrity_posts(author))
    if rebuild(stores, author).ids:
        celebrities.put(stores.redis, author)


def reload(stores: Stores) -> Snapshot:
    """Begin the copies of this process anew."""
    marker, number = invalidation_log.latest(stores.redis)
    return stores.near_cache.reload(marker, number, _authors(stores))


def prune(stores: Stores, known: Snapshot) -> None:
    """Forget the authors that have nothing on their list any more; as often as they have doubled."""
    if stores.near_cache.are_many():
        stores.near_cache.keep_only(known, _authors(stores))


def _authors(stores: Stores) -> frozenset[int]:
    """The authors with anything on their list: from the set, or from SQL, if the set is absent or being built."""
    found = celebrities.read(stores.redis)
    if found is not None:
        return found
    marker = celebrities.open_to_build(stores.redis)
    with stores.sql.reading() as connection:
        authors = feed_queries.listed_authors(connection)
    if marker is not None:
        celebrities.finish(stores.redis, marker, authors)
    return frozenset(authors)


def _from_sql(stores: Stores, author: int) -> FloorList:
    cap = stores.limits.feed_cap
    with stores.sql.reading() as connection:
        return FloorList.of_newest(feed_queries.listed(connection, author, cap + 1), cap)
