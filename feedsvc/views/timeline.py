"""What SQL says of a feed: the queries that fill home feeds, and that answer below the horizon, to the very first post."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import CTE, BigInteger, ColumnElement, ScalarSelect, Select, and_, exists, func, literal, select, true, union_all
from sqlalchemy.orm import aliased

from feedsvc.paging import LARGEST
from feedsvc.store.sql.tables import Follow, Mute, Post

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from feedsvc.store import Stores

Order = Literal["newest first", "oldest first"]

_Newest = aliased(Post, name="newest")

# How many posts of each author the bounds are taken from: enough where all post alike, then where a few post nearly everything. A pass
# asks every author; it pays where it reads an eighth of what the last one would, and after two of them the last one reads little.
_PASSES = (1, 4, 32)
_WORTH = 8
# For each post of a page so many of anybody are looked through before authors are asked one by one, which takes ten times as long.
_NEARBY = 64


def pushed(stores: Stores, connection: Connection, viewer: int, count: int) -> list[int]:
    """The newest posts that belong in the viewer's home feed list: of all it follows, muted or not, and its own, if not pulled."""
    query = _of_authors(
        stores, _with(viewer, _followees(viewer)), lambda post: and_(post.route == "push", post.deleted_at.is_(None)), count, "newest first"
    )
    return list(connection.scalars(query))


def delivered(stores: Stores, connection: Connection, viewer: int, *, above: int, below: int) -> list[int]:
    """Ids strictly between `above` and `below` of the posts that the viewer's home feed list must hold: the last feed has them."""
    query = _of_authors(
        stores,
        _with(viewer, _followees(viewer)),
        lambda post: and_(post.pushed_at.is_not(None), post.deleted_at.is_(None), post.id > above, post.id < below),
        None,
        "newest first",
    )
    return list(connection.scalars(query))


def seen(stores: Stores, connection: Connection, viewer: int, *, above: int, below: int, count: int | None, order: Order) -> list[int]:
    """Ids strictly between `above` and `below` of the posts that the viewer sees, at most `count`, in this order."""
    unmuted = _followees(viewer).where(~exists().where(Mute.account_id == viewer, Mute.muted_id == Follow.followee_id))
    authors = _with(viewer, unmuted)
    if count is not None:
        found = list(connection.scalars(_nearby(authors, above, below, count, order)))
        if len(found) == count:
            return found
    query = _of_authors(stores, authors, lambda post: and_(post.deleted_at.is_(None), post.id > above, post.id < below), count, order)
    return list(connection.scalars(query))


def by_author(connection: Connection, author: int, *, above: int, below: int, count: int | None, order: Order) -> list[int]:
    """The same for the posts of one account."""
    query = select(Post.id).where(Post.author_id == author, Post.deleted_at.is_(None), Post.id > above, Post.id < below)
    return list(connection.scalars(query.order_by(_by_id(Post, order)).limit(count)))


def listed(connection: Connection, author: int, count: int) -> list[int]:
    """The newest posts that belong on the author's celebrity list: pulled, or not pushed to the last feed yet."""
    query = select(Post.id).where(Post.author_id == author, Post.pushed_at.is_(None), Post.deleted_at.is_(None))
    return list(connection.scalars(query.order_by(Post.id.desc()).limit(count)))


def listed_authors(connection: Connection) -> list[int]:
    """Every account with anything on its celebrity list."""
    query = select(Post.author_id).where(Post.pushed_at.is_(None), Post.deleted_at.is_(None)).distinct()
    return list(connection.scalars(query))


def _followees(viewer: int) -> Select[int]:
    return select(Follow.followee_id.label("author")).where(Follow.follower_id == viewer)


def _with(viewer: int, followees: Select[int]) -> CTE:
    return union_all(followees, select(literal(viewer, BigInteger).label("author"))).cte("authors")


def _nearby(authors: CTE, above: int, below: int, count: int, order: Order) -> Select[int]:
    """The first `count` posts of all authors, or as many of them as are among the first of anybody."""
    inside = select(Post.id, Post.author_id, Post.deleted_at).where(Post.id > above, Post.id < below)
    nearest = inside.order_by(_by_id(Post, order)).limit(_NEARBY * count).subquery("nearest")
    theirs = nearest.c.author_id.in_(select(authors.c.author))
    return select(nearest.c.id).where(nearest.c.deleted_at.is_(None), theirs).order_by(_by_id(nearest.c, order)).limit(count)


def _of_authors(
    stores: Stores, authors: CTE, wanted: Callable[[type[Post]], ColumnElement[bool]], count: int | None, order: Order
) -> Select[int]:
    """The first `count` wanted posts of all authors.

    The `count`-th of some of the posts is a bound: no later one is among the first. So a few of each author are read, then more of
    each up to that bound, and last all up to the bound of those: `count` posts and some, not `count` of each author. It is one
    statement, and so one moment.
    """
    bound = None
    before_the_last = 0 if count is None else count - 1
    for few in [few for few in _PASSES if few * _WORTH <= before_the_last][-2:]:
        some = _some_of_each(stores, authors, wanted, few, order, bound).subquery()
        bound = select(some.c.id).order_by(_by_id(some.c, order)).offset(before_the_last).limit(1).scalar_subquery()
    last = _some_of_each(stores, authors, wanted, count, order, bound).subquery()
    return select(last.c.id).order_by(_by_id(last.c, order)).limit(count)


def _some_of_each(
    stores: Stores,
    authors: CTE,
    wanted: Callable[[type[Post]], ColumnElement[bool]],
    count: int | None,
    order: Order,
    bound: ScalarSelect[int] | None,
) -> Select[int]:
    """The first `count` wanted posts of each author, up to the bound, if there is one and it has a value."""
    of_one = select(_Newest.id).where(_Newest.author_id == authors.c.author, wanted(_Newest)).limit(count)
    if bound is not None:
        is_within = _Newest.id >= func.coalesce(bound, 0) if order == "newest first" else _Newest.id <= func.coalesce(bound, LARGEST)
        of_one = of_one.where(is_within)
    of_one = of_one.order_by(_by_id(_Newest, order))
    if stores.sql.is_sqlite:  # has no LATERAL; PostgreSQL would run this form once for every post there is
        return select(Post.id).select_from(authors).join(Post, Post.id.in_(of_one.correlate(authors)))
    newest = of_one.lateral("of_one")
    return select(newest.c.id).select_from(authors).join(newest, true())


def _by_id(post: Any, order: Order) -> ColumnElement[int]:
    ident: ColumnElement[int] = post.id
    return ident.desc() if order == "newest first" else ident.asc()
