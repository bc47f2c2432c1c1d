"""What SQL says of a feed: the queries that fill home feeds, and that answer below the horizon, to the very first post."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Select,
    and_,
    bindparam,
    exists,
    func,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import aliased

from feedsvc.formats import MAX_ID
from feedsvc.store.sql.tables import Follow, Mute, Post

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import BindParameter, Connection, ScalarSelect

    from feedsvc.store import Stores

Order = Literal["newest first", "oldest first"]

_Newest = aliased(Post, name="newest")

# How many posts of each author the bounds are taken from: enough where all post alike, then where a few post nearly everything. A pass
# asks every author; it pays where it reads an eighth of what the last one would, and after two of them the last one reads little.
_PASSES = (1, 4, 32)
_WORTH = 8
# For each post of a page so many of anybody are looked through before authors are asked one by one, which takes ten times as long.
_NEARBY = 64

_VIEWER, _AUTHOR = bindparam("viewer", type_=BigInteger), bindparam("author", type_=BigInteger)
_ABOVE, _BELOW = bindparam("above", type_=BigInteger), bindparam("below", type_=BigInteger)
_COUNT, _BEFORE_THE_LAST, _LOOKED_THROUGH = (
    bindparam(name, type_=BigInteger) for name in ("count", "before_the_last", "looked_through")
)

_LISTED = (
    select(Post.id)
    .where(Post.author_id == _AUTHOR, Post.pushed_at.is_(None), Post.deleted_at.is_(None))
    .order_by(Post.id.desc())
    .limit(_COUNT)
)
_LISTED_AUTHORS = (
    select(Post.author_id).where(Post.pushed_at.is_(None), Post.deleted_at.is_(None)).distinct()
)


class _Form(NamedTuple):
    """What the same question is asked in other words for: its statement is built once for each, which takes longer than to answer it."""

    is_sqlite: bool
    passes: tuple[int, ...]
    is_limited: bool
    order: Order

    @classmethod
    def of(cls, stores: Stores, count: int | None, order: Order) -> _Form:
        """The form for so many posts, or for all."""
        passes = () if count is None else tuple(few for few in _PASSES if few * _WORTH < count)[-2:]
        return cls(stores.sql.is_sqlite, passes, count is not None, order)


def pushed(stores: Stores, connection: Connection, viewer: int, count: int) -> list[int]:
    """The newest posts that belong in the viewer's home feed list: of all it follows, muted or not, and its own, if not pulled."""
    return list(
        connection.scalars(
            _pushed(_Form.of(stores, count, "newest first")), {"viewer": viewer, **_limits(count)}
        )
    )


def delivered(
    stores: Stores, connection: Connection, viewer: int, *, above: int, below: int
) -> list[int]:
    """Ids strictly between `above` and `below` of the posts that the viewer's home feed list must hold: the last feed has them."""
    query = _delivered(_Form.of(stores, None, "newest first"))
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
    """Ids strictly between `above` and `below` of the posts that the viewer sees, at most `count`, in this order."""
    values = {"viewer": viewer, "above": above, "below": below, **_limits(count)}
    if count is not None:
        found = list(connection.scalars(_nearby(order), values))
        if len(found) == count:
            return found
    return list(connection.scalars(_seen(_Form.of(stores, count, order)), values))


def by_author(
    connection: Connection, author: int, *, above: int, below: int, count: int | None, order: Order
) -> list[int]:
    """The same for the posts of one account."""
    values = {"author": author, "above": above, "below": below, **_limits(count)}
    return list(connection.scalars(_by_author(order, is_limited=count is not None), values))


def listed(connection: Connection, author: int, count: int) -> list[int]:
    """The newest posts that belong on the author's celebrity list: pulled, or not pushed to the last feed yet."""
    return list(connection.scalars(_LISTED, {"author": author, "count": count}))


def listed_authors(connection: Connection) -> list[int]:
    """Every account with anything on its celebrity list."""
    return list(connection.scalars(_LISTED_AUTHORS))


def _limits(count: int | None) -> dict[str, int]:
    """What statements that are limited are given."""
    return (
        {}
        if count is None
        else {"count": count, "before_the_last": count - 1, "looked_through": _NEARBY * count}
    )


@cache
def _pushed(form: _Form) -> Select[int]:
    return _of_authors(
        form,
        _with_oneself(_followees()),
        lambda post: and_(post.route == "push", post.deleted_at.is_(None)),
    )


@cache
def _delivered(form: _Form) -> Select[int]:
    return _of_authors(
        form,
        _with_oneself(_followees()),
        lambda post: and_(post.pushed_at.is_not(None), _is_inside(post)),
    )


@cache
def _seen(form: _Form) -> Select[int]:
    return _of_authors(form, _with_oneself(_unmuted()), _is_inside)


@cache
def _nearby(order: Order) -> Select[int]:
    """The first `count` posts that the viewer sees, or as many of them as are among the first of anybody."""
    inside = select(Post.id, Post.author_id, Post.deleted_at).where(
        Post.id > _ABOVE, Post.id < _BELOW
    )
    nearest = inside.order_by(_by_id(Post, order)).limit(_LOOKED_THROUGH).subquery("nearest")
    theirs = nearest.c.author_id.in_(select(_with_oneself(_unmuted()).c.author))
    return (
        select(nearest.c.id)
        .where(nearest.c.deleted_at.is_(None), theirs)
        .order_by(_by_id(nearest.c, order))
        .limit(_COUNT)
    )


@cache
def _by_author(order: Order, *, is_limited: bool) -> Select[int]:
    query = (
        select(Post.id)
        .where(Post.author_id == _AUTHOR, _is_inside(Post))
        .order_by(_by_id(Post, order))
    )
    return query.limit(_COUNT) if is_limited else query


def _is_inside(post: type[Post]) -> ColumnElement[bool]:
    return and_(post.deleted_at.is_(None), post.id > _ABOVE, post.id < _BELOW)


def _followees() -> Select[int]:
    return select(Follow.followee_id.label("author")).where(Follow.follower_id == _VIEWER)


def _unmuted() -> Select[int]:
    return _followees().where(
        ~exists().where(Mute.account_id == _VIEWER, Mute.muted_id == Follow.followee_id)
    )


def _with_oneself(followees: Select[int]) -> CTE:
    return union_all(followees, select(_VIEWER.label("author"))).cte("authors")


def _of_authors(
    form: _Form, authors: CTE, wanted: Callable[[type[Post]], ColumnElement[bool]]
) -> Select[int]:
    """The first `count` wanted posts of all authors.

    The `count`-th of some of the posts is a bound: no later one is among the first. So a few of each author are read, then more of
    each up to that bound, and last all up to the bound of those: `count` posts and some, not `count` of each author. It is one
    statement, and so one moment.
    """
    bound, count = None, _COUNT if form.is_limited else None
    for few in form.passes:
        some = _some_of_each(form, authors, wanted, few, bound).subquery()
        bound = (
            select(some.c.id)
            .order_by(_by_id(some.c, form.order))
            .offset(_BEFORE_THE_LAST)
            .limit(1)
            .scalar_subquery()
        )
    last = _some_of_each(form, authors, wanted, count, bound).subquery()
    return select(last.c.id).order_by(_by_id(last.c, form.order)).limit(count)


def _some_of_each(
    form: _Form,
    authors: CTE,
    wanted: Callable[[type[Post]], ColumnElement[bool]],
    count: int | BindParameter[int] | None,
    bound: ScalarSelect[int] | None,
) -> Select[int]:
    """The first `count` wanted posts of each author, up to the bound, if there is one and it has a value."""
    of_one = (
        select(_Newest.id)
        .where(_Newest.author_id == authors.c.author, wanted(_Newest))
        .limit(count)
    )
    if bound is not None:
        is_within = (
            _Newest.id >= func.coalesce(bound, 0)
            if form.order == "newest first"
            else _Newest.id <= func.coalesce(bound, MAX_ID)
        )
        of_one = of_one.where(is_within)
    of_one = of_one.order_by(_by_id(_Newest, form.order))
    if (
        form.is_sqlite
    ):  # has no LATERAL; PostgreSQL would run this form once for every post there is
        return (
            select(Post.id).select_from(authors).join(Post, Post.id.in_(of_one.correlate(authors)))
        )
    newest = of_one.lateral("of_one")
    return select(newest.c.id).select_from(authors).join(newest, true())


def _by_id(post: Any, order: Order) -> ColumnElement[int]:
    ident: ColumnElement[int] = post.id
    return ident.desc() if order == "newest first" else ident.asc()
