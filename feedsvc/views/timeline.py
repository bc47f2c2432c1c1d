"""What SQL says of a feed: the queries that fill home feeds, and that answer below the horizon, to the very first post."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import CTE, BigInteger, ColumnElement, Select, and_, exists, literal, select, true, union_all
from sqlalchemy.orm import aliased

from feedsvc.store.sql.tables import Follow, Mute, Post

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from feedsvc.store import Stores

Order = Literal["newest first", "oldest first"]

_Newest = aliased(Post, name="newest")


def pushed(stores: Stores, connection: Connection, viewer: int, count: int) -> list[int]:
    """The newest posts that belong in the viewer's home feed list: of all it follows, muted or not, and its own, if not pulled."""
    query = _of_authors(
        stores, _with(viewer, _followees(viewer)), lambda post: and_(post.route == "push", post.deleted_at.is_(None)), count, "newest first"
    )
    return list(connection.scalars(query))


def seen(stores: Stores, connection: Connection, viewer: int, *, above: int, below: int, count: int | None, order: Order) -> list[int]:
    """Ids strictly between `above` and `below` of the posts that the viewer sees, at most `count`, in this order."""
    unmuted = _followees(viewer).where(~exists().where(Mute.account_id == viewer, Mute.muted_id == Follow.followee_id))
    query = _of_authors(
        stores, _with(viewer, unmuted), lambda post: and_(post.deleted_at.is_(None), post.id > above, post.id < below), count, order
    )
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


def _of_authors(
    stores: Stores, authors: CTE, wanted: Callable[[type[Post]], ColumnElement[bool]], count: int | None, order: Order
) -> Select[int]:
    """The first `count` wanted posts of all authors, reading no more than `count` of each."""
    of_one = select(_Newest.id).where(_Newest.author_id == authors.c.author, wanted(_Newest)).limit(count)
    of_one = of_one.order_by(_by_id(_Newest, order))
    if stores.sql.is_sqlite:  # has no LATERAL; PostgreSQL would run this form once for every post there is
        joined = select(Post.id).select_from(authors).join(Post, Post.id.in_(of_one.correlate(authors)))
        return joined.order_by(_by_id(Post, order)).limit(count)
    newest = of_one.lateral("of_one")
    return select(newest.c.id).select_from(authors).join(newest, true()).order_by(_by_id(newest.c, order)).limit(count)


def _by_id(post: Any, order: Order) -> ColumnElement[int]:
    ident: ColumnElement[int] = post.id
    return ident.desc() if order == "newest first" else ident.asc()
