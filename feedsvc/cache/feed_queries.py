"""Select post ids for feeds.

The queries fill home lists, celebrity lists and `celebrities`. They answer profiles, the audit, and
pages at and below the horizon.
"""

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

# Before the final read, `_of_authors` makes up to two passes to find a bound. A pass reads 1, 4 or
# 32 posts of each author. One is enough if all authors post alike. 32 help if a few authors post
# nearly everything. A pass has a cost too, because it asks every author. So a pass is skipped
# unless it reads less than an eighth of `count` posts of each author (docs/decisions/0010).
_PASSES = (1, 4, 32)
_WORTH = 8
# First scan 64 posts of any author for each wanted post. If they suffice, a page of 20 takes 2.3 ms
# instead of 7.3 ms (docs/decisions/0010).
_NEARBY = 64

_VIEWER, _AUTHOR = bindparam("viewer", type_=BigInteger), bindparam("author", type_=BigInteger)
_ABOVE, _BELOW = bindparam("above", type_=BigInteger), bindparam("below", type_=BigInteger)
_COUNT, _OFFSET, _SCANNED = (
    bindparam(name, type_=BigInteger) for name in ("count", "offset", "scanned")
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
    """The properties on which the SQL text of a statement depends.

    A statement is built once for each form, because building takes longer than running it.
    """

    is_sqlite: bool
    passes: tuple[int, ...]
    is_limited: bool
    order: Order

    @classmethod
    def of(cls, stores: Stores, count: int | None, order: Order) -> _Form:
        """Return the form for a number of posts, or for all posts."""
        passes = () if count is None else tuple(few for few in _PASSES if few * _WORTH < count)[-2:]
        return cls(stores.sql.is_sqlite, passes, count is not None, order)


def pushed(stores: Stores, connection: Connection, viewer: int, count: int) -> list[int]:
    """Return the newest posts that belong on the viewer's home list.

    They are pushed posts of the viewer and of its followees, muted or not.
    """
    query = _pushed(_Form.of(stores, count, "newest first"))
    return list(connection.scalars(query, {"viewer": viewer, **_limits(count)}))


def delivered(
    stores: Stores, connection: Connection, viewer: int, *, above: int, below: int
) -> list[int]:
    """Return the posts strictly between two ids that were pushed to the viewer's feed.

    Unlike `pushed`, select only posts whose fan-out is done. The viewer's home list must have each
    of them.
    """
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
    """Return at most `count` posts strictly between two ids that the viewer sees, in order."""
    values = {"viewer": viewer, "above": above, "below": below, **_limits(count)}
    if count is not None:
        found = list(connection.scalars(_nearby(order), values))
        if len(found) == count:
            return found
    return list(connection.scalars(_seen(_Form.of(stores, count, order)), values))


def by_author(
    connection: Connection, author: int, *, above: int, below: int, count: int | None, order: Order
) -> list[int]:
    """Return at most `count` posts of one account strictly between two ids, in order."""
    values = {"author": author, "above": above, "below": below, **_limits(count)}
    return list(connection.scalars(_by_author(order, is_limited=count is not None), values))


def listed(connection: Connection, author: int, count: int) -> list[int]:
    """Return the newest posts on the author's celebrity list: pulled, or not in every feed yet."""
    return list(connection.scalars(_LISTED, {"author": author, "count": count}))


def listed_authors(connection: Connection) -> list[int]:
    """Return every account with anything on its celebrity list."""
    return list(connection.scalars(_LISTED_AUTHORS))


def _limits(count: int | None) -> dict[str, int]:
    """Return the parameters of a statement that is limited."""
    if count is None:
        return {}
    return {"count": count, "offset": count - 1, "scanned": _NEARBY * count}


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
    """Select up to `count` posts that the viewer sees from the nearest posts of any author.

    If they are fewer than `count`, the caller runs `_seen`.
    """
    inside = select(Post.id, Post.author_id, Post.deleted_at).where(
        Post.id > _ABOVE, Post.id < _BELOW
    )
    nearest = inside.order_by(_by_id(Post, order)).limit(_SCANNED).subquery("nearest")
    is_seen = nearest.c.author_id.in_(select(_with_oneself(_unmuted()).c.author))
    return (
        select(nearest.c.id)
        .where(nearest.c.deleted_at.is_(None), is_seen)
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
    """Select the first `count` wanted posts of all authors.

    Take any subset of the wanted posts, in order. Its `count`-th post is a bound: no post beyond it
    is in the result. So a pass reads a few posts of each author and gets a bound. The next pass
    reads more posts of each author, up to that bound, and gets a nearer bound. The final read takes
    all posts up to the last bound. Together they read little more than `count` posts, not `count`
    posts of each author. They are one statement, so they see one moment.
    """
    bound, count = None, _COUNT if form.is_limited else None
    for few in form.passes:
        some = _some_of_each(form, authors, wanted, few, bound).subquery()
        bound = (
            select(some.c.id)
            .order_by(_by_id(some.c, form.order))
            .offset(_OFFSET)
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
    """Select the first `count` wanted posts of each author, up to the bound, if it has a value."""
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
    if form.is_sqlite:
        # SQLite has no LATERAL, so it uses IN. PostgreSQL would run the subquery of this IN once
        # for each post of the table.
        return (
            select(Post.id).select_from(authors).join(Post, Post.id.in_(of_one.correlate(authors)))
        )
    newest = of_one.lateral("of_one")
    return select(newest.c.id).select_from(authors).join(newest, true())


def _by_id(post: Any, order: Order) -> ColumnElement[int]:
    ident: ColumnElement[int] = post.id
    return ident.desc() if order == "newest first" else ident.asc()
