"""Select post ids for feeds.

The queries fill home lists, celebrity lists and `celebrities`. They answer profiles, the audit, and
pages at and below the horizon.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, and_, bindparam, exists, literal, select, union_all

from feedsvc.cache.newest_posts import (
    COUNT,
    NEWEST,
    Form,
    by_id,
    of_authors,
    of_one,
    walk_indexes,
)
from feedsvc.formats import MAX_ID
from feedsvc.store.sql.tables import Follow, Mute, Post

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import CTE, Connection, Select

    from feedsvc.cache.newest_posts import Order
    from feedsvc.store import Stores

# First scan 64 posts of any author for each wanted post. If they suffice, a page of 20 takes 2.3 ms
# instead of 7.3 ms (docs/decisions/0010).
_NEARBY = 64

_VIEWER, _AUTHOR = bindparam("viewer", type_=BigInteger), bindparam("author", type_=BigInteger)
_ABOVE, _BELOW = bindparam("above", type_=BigInteger), bindparam("below", type_=BigInteger)
_SCANNED = bindparam("scanned", type_=BigInteger)

_LISTED_AUTHORS = (
    select(Post.author_id).where(Post.pushed_at.is_(None), Post.deleted_at.is_(None)).distinct()
)
_LISTED_AMONG = _LISTED_AUTHORS.where(Post.author_id.in_(bindparam("authors", expanding=True)))
# A statement names at most 10,000 authors: SQLite accepts 32,766 values, PostgreSQL 65,535.
_AT_ONCE = 10_000


def pushed(stores: Stores, connection: Connection, viewer: int, count: int) -> list[int]:
    """Return the newest posts that belong on the viewer's home list.

    They are pushed posts of the viewer and of its followees, muted or not.
    """
    query = _pushed(Form.of(stores, count, "newest first"))
    walk_indexes(stores, connection)
    return list(connection.scalars(query, {"viewer": viewer, **_limits(count)}))


def delivered(
    stores: Stores, connection: Connection, viewer: int, *, above: int, below: int
) -> list[int]:
    """Return the posts strictly between two ids that were pushed to the viewer's feed.

    Unlike `pushed`, select only posts whose fan-out is done. The viewer's home list must have each
    of them.
    """
    query = _delivered(Form.of(stores, None, "newest first"))
    walk_indexes(stores, connection)
    return list(connection.scalars(query, {"viewer": viewer, "above": above, "below": below}))


def seen(
    stores: Stores,
    connection: Connection,
    viewer: int,
    *,
    above: int,
    below: int,
    count: int | None,
    order: Order,
) -> list[int]:
    """Return at most `count` posts strictly between two ids that the viewer sees, in order."""
    values = {"viewer": viewer, "above": above, "below": below, **_limits(count)}
    if count is not None:
        found = list(connection.scalars(_nearby(order), values))
        if len(found) == count:
            return found
    walk_indexes(stores, connection)
    return list(connection.scalars(_seen(Form.of(stores, count, order)), values))


def by_author(
    stores: Stores,
    connection: Connection,
    author: int,
    *,
    above: int,
    below: int,
    count: int | None,
    order: Order,
) -> list[int]:
    """Return at most `count` posts of one account strictly between two ids, in order."""
    values = {"author": author, "above": above, "below": below, **_limits(count)}
    walk_indexes(stores, connection)
    return list(connection.scalars(_by_author(Form.of(stores, count, order)), values))


def listed(stores: Stores, connection: Connection, author: int, count: int) -> list[int]:
    """Return the newest posts on the author's celebrity list: pulled, or not in every feed yet."""
    walk_indexes(stores, connection)
    query = _listed(Form.of(stores, count, "newest first"))
    return list(connection.scalars(query, {"author": author, "count": count}))


def listed_authors(connection: Connection) -> list[int]:
    """Return every account with anything on its celebrity list."""
    return list(connection.scalars(_LISTED_AUTHORS))


def listed_among(connection: Connection, authors: Collection[int]) -> set[int]:
    """Return the accounts among `authors` with anything on their celebrity list."""
    found: set[int] = set()
    every = list(authors)
    for first in range(0, len(every), _AT_ONCE):
        some = every[first : first + _AT_ONCE]
        found.update(connection.scalars(_LISTED_AMONG, {"authors": some}))
    return found


def _limits(count: int | None) -> dict[str, int]:
    """Return the parameters of a statement that is limited."""
    if count is None:
        return {}
    return {"count": count, "offset": count - 1, "scanned": _NEARBY * count}


@cache
def _pushed(form: Form) -> Select[int]:
    return of_authors(
        form,
        _with_oneself(_followees()),
        lambda post: and_(post.route == "push", post.deleted_at.is_(None)),
        between=(literal(0, BigInteger), literal(MAX_ID, BigInteger)),
    )


@cache
def _delivered(form: Form) -> Select[int]:
    return of_authors(
        form,
        _with_oneself(_followees()),
        lambda post: and_(post.pushed_at.is_not(None), post.deleted_at.is_(None)),
        between=(_ABOVE, _BELOW),
    )


@cache
def _seen(form: Form) -> Select[int]:
    return of_authors(
        form,
        _with_oneself(_unmuted()),
        lambda post: post.deleted_at.is_(None),
        between=(_ABOVE, _BELOW),
    )


@cache
def _nearby(order: Order) -> Select[int]:
    """Select up to `count` posts that the viewer sees from the nearest posts of any author.

    If they are fewer than `count`, the caller runs `_seen`.
    """
    inside = select(Post.id, Post.author_id, Post.deleted_at).where(
        Post.id > _ABOVE, Post.id < _BELOW
    )
    nearest = inside.order_by(by_id(Post, order)).limit(_SCANNED).subquery("nearest")
    is_seen = nearest.c.author_id.in_(select(_with_oneself(_unmuted()).c.author))
    return (
        select(nearest.c.id)
        .where(nearest.c.deleted_at.is_(None), is_seen)
        .order_by(by_id(nearest.c, order))
        .limit(COUNT)
    )


@cache
def _by_author(form: Form) -> Select[int]:
    return of_one(
        form,
        _AUTHOR,
        and_(NEWEST.id > _ABOVE, NEWEST.id < _BELOW, NEWEST.deleted_at.is_(None)),
        COUNT if form.is_limited else None,
    )


@cache
def _listed(form: Form) -> Select[int]:
    is_listed = and_(NEWEST.pushed_at.is_(None), NEWEST.deleted_at.is_(None))
    return of_one(form, _AUTHOR, is_listed, COUNT)


def _followees() -> Select[int]:
    return select(Follow.followee_id.label("author")).where(Follow.follower_id == _VIEWER)


def _unmuted() -> Select[int]:
    return _followees().where(
        ~exists().where(Mute.account_id == _VIEWER, Mute.muted_id == Follow.followee_id)
    )


def _with_oneself(followees: Select[int]) -> CTE:
    return union_all(followees, select(_VIEWER.label("author"))).cte("authors")
