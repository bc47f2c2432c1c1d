"""`celebrity-posts:<author>` and `celebrities`: the posts that are not in every home list.

Pulled posts stay on a celebrity list. Pushed posts stay there until their take-off.

An upload puts its post here after its commit and before it answers. From then on every follower's
read finds the post.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from feedsvc.cache import feed_queries, hidden_authors
from feedsvc.store.near_cache import authors as near_authors
from feedsvc.store.near_cache.snapshot import Snapshot
from feedsvc.store.redis import celebrities, invalidation_log, keys, lists, post_ids
from feedsvc.store.redis.faults import WriteRefused
from feedsvc.store.redis.lists import FloorList, Marker
from feedsvc.store.redis.round_trip import RoundTrip, fresh_token
from feedsvc.store.redis.scripts import PUT_AUTHOR, PUT_POST
from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from feedsvc.settings import Settings
    from feedsvc.store import Stores
    from feedsvc.store.redis.cluster import Redis
    from feedsvc.store.redis.round_trip import Answer

_POSTS = Post.id.in_(bindparam("posts", expanding=True))
_LISTED = select(Post.id, Post.author_id).where(
    _POSTS, Post.pushed_at.is_(None), Post.deleted_at.is_(None)
)


def put(stores: Stores, author: int, post_id: int) -> None:
    """Put a post on its author's list, put the author into `celebrities`, and log the put.

    A reader may have asked for the id before the post existed, and have cached that there is no
    such post. So the view `post:<id>` is deleted first. The id goes on record, so that later posts
    get higher ids even if SQL loses this post. All this takes one round trip. Afterwards a list
    that was absent or being built is built from SQL.
    """
    trip = RoundTrip(stores.redis, stop_on_error=True)
    trip.ask("DEL", keys.post(post_id))
    post_ids.add_post(trip, post_id)
    trip.then()
    marker = _add_post(trip, author, post_id, stores.limits)
    trip.then()
    _add_author(trip, author, post_id)
    trip.run()
    if marker.value is not None:
        key, newest = keys.celebrity_posts(author), _read_sql(stores, author)
        lists.finish(stores.redis, key, Marker.parse(marker.value), newest, stores.limits)


def put_author(redis: Redis, author: int, post_id: int = invalidation_log.WHOLE_LIST) -> None:
    """Put an author into `celebrities` and log that its list changed. Write the list before."""
    trip = RoundTrip(redis, stop_on_error=True)
    _add_author(trip, author, post_id)
    trip.run()


def put_listed(stores: Stores, post_ids: Sequence[int]) -> None:
    """Put back the posts that SQL still has on a celebrity list."""
    with stores.sql.reading() as connection:
        listed = connection.execute(_LISTED, {"posts": post_ids}).all()
    for row in listed:
        put(stores, row.author_id, row.id)


def take_off(stores: Stores, posts: Mapping[int, int]) -> None:
    """Take posts (post -> author) off their lists: deleted posts, and posts that every feed has.

    Authors with nothing left on their list leave `celebrities`.
    """
    celebrities.take_off(stores.redis, posts)
    # SQL decides which posts are on a list. Put back each of these posts that SQL lists after all.
    put_listed(stores, list(posts))


def rebuild(stores: Stores, author: int) -> FloorList:
    """Return the author's list as SQL has it now, and store it.

    Do not store it if the list's marker has changed meanwhile: after a deletion, an expiry or a
    trim.
    """
    key = keys.celebrity_posts(author)
    return lists.build(stores.redis, key, stores.limits, lambda: _read_sql(stores, author))


def renew(stores: Stores, author: int) -> None:
    """Delete the author's list and build it again.

    If it has posts, put the author into `celebrities` and log that the whole list changed.
    """
    stores.redis.delete(keys.celebrity_posts(author))
    if rebuild(stores, author).ids:
        put_author(stores.redis, author)


def reload(stores: Stores) -> Snapshot:
    """Restart the near cache of this process. Return the new snapshot.

    The position in the log is read before the authors and the hidden accounts, so no later put or
    deletion is missed. At most 1,000 authors are read here. Later reads load more authors in steps.
    If the log is absent and Redis refuses to begin one, nothing is cached.
    """
    try:
        marker, number = invalidation_log.position(stores.redis)
    except WriteRefused:
        return Snapshot(b"", 0, None, hidden=hidden_authors.read(stores))
    authors: Collection[int] | None = celebrities.read_few(stores.redis, near_authors.STEP)
    if authors is None:
        with suppress(WriteRefused):
            building = celebrities.claim(stores.redis)
            authors = _fill(stores, building) if building else None
    return stores.near_cache.reload(marker, number, authors, hidden_authors.read(stores))


def celebrities_among(
    stores: Stores, snapshot: Snapshot, authors: frozenset[int]
) -> AbstractSet[int]:
    """Return the accounts among `authors` that may have anything on their celebrity list.

    Ask Redis if the near cache does not hold the set, and SQL if the set is absent or being built.
    The caller then reads the home list again: an author that has left the set since the snapshot
    may have left it together with a post that has moved to the home list.
    """
    found = snapshot.celebrities_among(authors)
    if found is None:
        found = celebrities.find(stores.redis, authors)
    if found is None:
        with stores.sql.reading() as connection:
            found = feed_queries.listed_among(connection, authors)
    return found


def fill_if_lost(stores: Stores) -> None:
    """Fill the set `celebrities` from SQL if a load of the near cache has failed.

    Do nothing if the set is valid: then another process has filled it, or it is too large.
    """
    near = stores.near_cache.authors
    if near.are_lost:
        near.are_lost = False
        with suppress(WriteRefused):
            building = celebrities.open_to_build(stores.redis)
            if building is not None:
                _fill(stores, building)


def _fill(stores: Stores, marker: str) -> list[int]:
    """Fill the set `celebrities`, which is being built under a marker. Return the authors."""
    with stores.sql.reading() as connection:
        authors = feed_queries.listed_authors(connection)
    celebrities.finish(stores.redis, marker, authors)
    return authors


def _read_sql(stores: Stores, author: int) -> FloorList:
    cap = stores.limits.feed_cap
    with stores.sql.reading() as connection:
        return FloorList.of_newest(feed_queries.listed(stores, connection, author, cap + 1), cap)


def _add_post(trip: RoundTrip, author: int, post_id: int, limits: Settings) -> Answer[bytes | None]:
    """Queue a push to the author's list. Queue `_add_author` in a later stage.

    The answer is None if the list is valid. Otherwise it is the marker under which the caller has
    to build the list.
    """
    args = (post_id, limits.feed_cap, limits.longest_list, fresh_token(), limits.feed_ttl_seconds)
    return trip.script(PUT_POST, [keys.celebrity_posts(author)], *args)


def _add_author(trip: RoundTrip, author: int, post_id: int) -> None:
    """Queue the commands of `put_author`, in the order that near caches rely on.

    The caller has begun a stage after the one that writes the list.
    """
    trip.script(PUT_AUTHOR, [keys.CELEBRITIES], author, celebrities.UNCLAIMED + fresh_token())
    trip.then()
    invalidation_log.add(trip, author, post_id)
