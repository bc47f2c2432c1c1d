"""Build statements that select the first posts of authors, in the order of their ids.

A statement stops after a few posts of each author, however many each has (docs/decisions/0010).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import BigInteger, and_, any_, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import aliased

from feedsvc.store.sql.tables import Post

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import CTE, BindParameter, ColumnElement, Connection, ScalarSelect, Select
    from sqlalchemy.orm import InstrumentedAttribute

    from feedsvc.store import Stores

Order = Literal["newest first", "oldest first"]

# A post of the author whose posts a statement reads.
NEWEST = aliased(Post, name="newest")
# The number of posts to select, and one less.
COUNT, OFFSET = (bindparam(name, type_=BigInteger) for name in ("count", "offset"))

# Before the final read, `of_authors` makes up to two passes to find a bound. A pass reads 1, 4 or
# 32 posts of each author. One is enough if all authors post alike. 32 help if a few authors post
# nearly everything. A pass has a cost too, because it asks every author. So a pass is skipped
# unless it reads less than an eighth of `count` posts of each author (docs/decisions/0010).
_PASSES = (1, 4, 32)
_WORTH = 8

# Kinds of plans that would read all posts of an author, and sort them.
_OFF = ("enable_bitmapscan", "enable_seqscan", "enable_sort")
_WALK_INDEXES = select(*(func.set_config(name, "off", true()) for name in _OFF))


class Form(NamedTuple):
    """The properties on which the SQL text of a statement depends.

    A statement is built once for each form, because building takes longer than running it.
    """

    is_sqlite: bool
    passes: tuple[int, ...]
    is_limited: bool
    order: Order

    @classmethod
    def of(cls, stores: Stores, count: int | None, order: Order) -> Form:
        """Return the form for a number of posts, or for all posts."""
        passes = () if count is None else tuple(few for few in _PASSES if few * _WORTH < count)[-2:]
        return cls(stores.sql.is_sqlite, passes, count is not None, order)


def walk_indexes(stores: Stores, connection: Connection) -> None:
    """Let PostgreSQL walk indexes in their order, until the end of the transaction.

    A statement of this module stops after a few posts of each author. PostgreSQL assumes that each
    author has an average number of posts. If it expects fewer posts than the limit, it fetches all
    posts of the author and sorts them. For an author with 500,000 posts that takes a second
    (docs/decisions/0010).
    """
    if not stores.sql.is_sqlite:
        connection.execute(_WALK_INDEXES)


def of_authors(
    form: Form,
    authors: CTE,
    wanted: Callable[[type[Post]], ColumnElement[bool]],
    between: tuple[ColumnElement[int], ColumnElement[int]],
) -> Select[int]:
    """Select the first `count` wanted posts of all authors, strictly between two ids.

    Take any subset of the wanted posts, in order. Its `count`-th post is a bound: no post beyond it
    is in the result. So a pass reads a few posts of each author and gets a bound. The next pass
    reads more posts of each author, up to that bound, and gets a nearer bound. The final read takes
    all posts up to the last bound. Together they read little more than `count` posts, not `count`
    posts of each author. They are one statement, so they see one moment.
    """
    count = COUNT if form.is_limited else None
    nearer = between
    for few in form.passes:
        some = _some_of_each(form, authors, wanted, few, nearer).subquery()
        bound = (
            select(some.c.id)
            .order_by(by_id(some.c, form.order))
            .offset(OFFSET)
            .limit(1)
            .scalar_subquery()
        )
        nearer = _up_to(bound, between, form.order)
    last = _some_of_each(form, authors, wanted, count, nearer).subquery()
    return select(last.c.id).order_by(by_id(last.c, form.order)).limit(count)


def _up_to(
    bound: ScalarSelect[int],
    between: tuple[ColumnElement[int], ColumnElement[int]],
    order: Order,
) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Return the two ids with the bound, which is wanted itself, in place of the farther one.

    A bound without a value changes nothing: the pass found fewer than `count` posts.
    """
    above, below = between
    if order == "newest first":
        return func.coalesce(bound - 1, above), below
    return above, func.coalesce(bound + 1, below)


def _some_of_each(
    form: Form,
    authors: CTE,
    wanted: Callable[[type[Post]], ColumnElement[bool]],
    count: int | BindParameter[int] | None,
    between: tuple[ColumnElement[int], ColumnElement[int]],
) -> Select[int]:
    """Select the first `count` wanted posts of each author, strictly between two ids."""
    above, below = between
    wanted_of_one = and_(NEWEST.id > above, NEWEST.id < below, wanted(NEWEST))
    firsts = of_one(form, authors.c.author, wanted_of_one, count)
    if form.is_sqlite:
        # SQLite has no LATERAL, so it uses IN. PostgreSQL would run the subquery of this IN once
        # for each post of the table.
        return (
            select(Post.id).select_from(authors).join(Post, Post.id.in_(firsts.correlate(authors)))
        )
    newest = firsts.lateral("of_one")
    return select(newest.c.id).select_from(authors).join(newest, true())


def of_one(
    form: Form,
    author: ColumnElement[int],
    wanted: ColumnElement[bool],
    count: int | BindParameter[int] | None,
) -> Select[int]:
    """Select the first `count` wanted posts of an author, in order.

    From `author_id = ?` PostgreSQL would conclude that an order by id is enough. Then it may walk
    the posts of all authors by id. An array with one author keeps it to the index of the authors.
    """
    is_by = NEWEST.author_id == (author if form.is_sqlite else any_(array([author])))
    order = (_in_order(NEWEST.author_id, form.order), by_id(NEWEST, form.order))
    return select(NEWEST.id).where(is_by, wanted).order_by(*order).limit(count)


def by_id(post: Any, order: Order) -> ColumnElement[int]:
    """Return the order of posts by their ids."""
    return _in_order(post.id, order)


def _in_order(
    column: ColumnElement[int] | InstrumentedAttribute[int], order: Order
) -> ColumnElement[int]:
    return column.desc() if order == "newest first" else column.asc()
