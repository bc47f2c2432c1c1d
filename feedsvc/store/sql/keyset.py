"""Pages by key: lists in descending order of one unique number, for instance accounts by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, literal

from feedsvc.formats import MAX_ID
from feedsvc.paging import Kind, Newer, Older, Page, decode, encode

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, Connection, Row, Select
    from sqlalchemy.orm import InstrumentedAttribute


def key_page(
    connection: Connection,
    kind: Kind,
    query: Select[Any],
    key: InstrumentedAttribute[int],
    cursor: str | None,
    limit: int,
) -> Page[Row[Any]]:
    """Return one page of `query`, whose rows have `key` as a column. Raises `BadCursor`."""
    at = decode(kind, cursor) if cursor is not None else None
    if isinstance(at, Newer):
        above = query.where(key > _wide(min(at.position, MAX_ID)))
        rows = list(connection.execute(above.order_by(key.asc()).limit(limit)))[::-1]
        bottom = getattr(rows[-1], key.key) if rows else at.position + 1
        older = connection.execute(_below(query, key, bottom).limit(1)).first() is not None
        top = getattr(rows[0], key.key) if rows else at.position
    else:
        below = query if at is None else _below(query, key, at.position)
        found = list(connection.execute(below.order_by(key.desc()).limit(limit + 1)))
        rows, older = found[:limit], len(found) > limit
        bottom = getattr(rows[-1], key.key) if rows else 0
        top = getattr(rows[0], key.key) if rows else (at.position - 1 if at else 0)
    return Page(rows, encode(kind, Older(bottom)) if older else None, encode(kind, Newer(top)))


def _below(query: Select[Any], key: InstrumentedAttribute[int], position: int) -> Select[Any]:
    """Return the rows below a position. A position above MAX_ID does not fit a column: all rows."""
    return query if position > MAX_ID else query.where(key < _wide(position))


def _wide(position: int) -> BindParameter[int]:
    """Return a position as 64 bits: a client's cursor may be above every value of the column."""
    return literal(position, BigInteger)
