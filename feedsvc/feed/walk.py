"""Walking a list of posts page by page, downwards and back up, under durable cursors. Knows nothing of where the posts come from.

Downwards a cursor is the last id shown. Upwards, ids are not enough: transactions do not commit in id order, so a post may appear
below one already shown. Ids older than the settled mark can no longer do so; an upward cursor stands at or below the mark, and
carries the ids above it that were shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from feedsvc.formats import MAX_ID
from feedsvc.paging import Cursor, Kind, Newer, Older, Page, decode, encode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

TOP = MAX_ID

# More ids than this are not carried: a poll then repeats some of the last seconds, and misses none.
_MOST_SHOWN = 1_000


class Item(NamedTuple):
    """A post that the reader may see."""

    id: int
    json: bytes


class Posts(Protocol):
    """A list of posts, as one reader sees it at one moment."""

    def below(self, position: int, count: int) -> list[Item]:
        """The highest visible posts below a position, descending; fewer than `count` only if there are no more."""

    def above(self, position: int, shown: Collection[int], count: int) -> list[Item]:
        """The lowest visible posts above a position and not in `shown`, ascending."""

    def ids_above(self, position: int) -> list[int]:
        """All ids above a position, visible or not."""


def start(kind: Kind, cursor: str | None) -> Cursor:
    """Where a page starts: at a cursor, or at the top. Raises `BadCursor`."""
    return decode(kind, cursor) if cursor is not None else Older(TOP)


def page(posts: Posts, kind: Kind, at: Cursor, limit: int, settled: int) -> Page[bytes]:
    """One page. `settled`: no id up to it can appear any more."""
    if isinstance(at, Newer):
        return _upwards(posts, kind, Newer(min(at.position, TOP), at.shown), limit, settled)
    return _downwards(posts, kind, at, limit, settled)


def _downwards(posts: Posts, kind: Kind, at: Older, limit: int, settled: int) -> Page[bytes]:
    young = posts.ids_above(settled) if at.position > settled else []
    found = posts.below(min(at.position, TOP), limit + 1)
    items = found[:limit]
    following = Older(items[-1].id) if len(found) > limit else None
    top = items[0].id if items else min(settled, at.position - 1)
    mark = min(settled, top)
    back = Newer(mark, _carried(mark, top, young, items))
    return _page(kind, items, following, back)


def _upwards(posts: Posts, kind: Kind, at: Newer, limit: int, settled: int) -> Page[bytes]:
    young = posts.ids_above(max(at.position, settled))
    items = posts.above(at.position, set(at.shown), limit)[::-1]
    # A full page may leave more above it: nothing beyond the page counts as shown.
    top = (
        items[0].id
        if len(items) == limit
        else max([at.position, *at.shown, *(item.id for item in items)])
    )
    mark = max(at.position, min(settled, top))
    back = Newer(mark, _carried(mark, top, young, items, at.shown))
    bottom = items[-1].id if items else top + 1
    return _page(kind, items, Older(bottom) if posts.below(min(bottom, TOP), 1) else None, back)


def _carried(
    mark: int, top: int, young: Iterable[int], items: Iterable[Item], shown: Iterable[int] = ()
) -> tuple[int, ...]:
    """The ids above the mark that count as shown. `young` was read before the page: what commits after that counts only if it is on it."""
    ids = {*(post_id for post_id in young if post_id <= top), *(item.id for item in items), *shown}
    return tuple(sorted(post_id for post_id in ids if post_id > mark)[:_MOST_SHOWN])


def _page(kind: Kind, items: list[Item], following: Older | None, back: Newer) -> Page[bytes]:
    return Page(
        [item.json for item in items],
        encode(kind, following) if following else None,
        encode(kind, back),
    )
