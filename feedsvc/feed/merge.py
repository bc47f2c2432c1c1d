"""Merging the sources of a feed. Pure.

Each source is complete above its floor. Above the highest floor, the horizon, all of them are; at and below it SQL answers for
everything. Arrival order is not id order, and a post that is being moved is in two sources: ids are sorted and repeats dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from feedsvc.store.redis.lists import FloorList


def horizon(sources: Iterable[FloorList]) -> int:
    """The id above which all sources are complete."""
    return max(source.floor for source in sources)


def merged(sources: Sequence[FloorList]) -> list[int]:
    """The ids above the horizon, descending, each once."""
    bound = horizon(sources)
    ids = {post_id for source in sources for post_id in source.ids if post_id > bound}
    return sorted(ids, reverse=True)
