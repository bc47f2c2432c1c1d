"""Audit stored feeds: compare them with the database, report the differences, repair the feeds.

A difference counts only if two comparisons in a row find it. A change that is on its way from one
store to the other has arrived by the second comparison.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa
import structlog

from feedsvc.cache import celebrity_lists, home_lists, post_bodies
from feedsvc.errors import NotFound
from feedsvc.graph import followers
from feedsvc.graph import sample as sampling
from feedsvc.graph.accounts import require
from feedsvc.inspection.compare import Comparison, compare
from feedsvc.store.redis import lists
from feedsvc.store.sql.tables import Fanout, Post

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.store import Stores
    from feedsvc.store.redis.lists import FloorList

_log = structlog.get_logger()

# Comparisons of one feed in one audit. A feed that changes all the time is left to the next audit.
_COMPARISONS = 4

Kind = Literal["missing", "extra"]


@dataclass(frozen=True)
class Difference:
    """A post that a viewer's feed lacks or wrongly shows, with the post's route and fan-out.

    `author_id` and all fields after it are None if the database does not have the post. `batch` is
    the number, from 1, of the batch that carries the viewer in a fan-out to the followers of today;
    None if no batch does.
    """

    viewer: int
    post_id: int
    kind: Kind
    author_id: int | None = None
    route: str | None = None
    policy_version: int | None = None
    state: str | None = None
    batch: int | None = None


@dataclass
class Audit:
    """The result of an audit.

    `accounts`: how many accounts were drawn. `stored`: how many of them had a stored feed.
    `twice`: how many ids a stored feed has more than once. A repeat is not a difference, because
    readers drop repeats.
    `repaired`: the accounts whose feeds were deleted, to be rebuilt by their next read.
    """

    accounts: int
    stored: int = 0
    missing: list[Difference] = field(default_factory=list)
    extra: list[Difference] = field(default_factory=list)
    twice: int = 0
    repaired: list[int] = field(default_factory=list)

    @property
    def differences(self) -> list[Difference]:
        """Return the missing and the extra posts."""
        return self.missing + self.extra


def audit(
    stores: Stores, sample: int | None, progress: Callable[[int], None] = lambda _: None
) -> Audit:
    """Compare the stored feeds of `sample` random accounts (None: all) with the database.

    Logs and repairs every feed that differs.
    """
    viewers = sampling.draw(stores, sample)
    result = Audit(len(viewers))
    for viewer in viewers:
        found = _confirmed(stores, viewer)
        if found is not None:
            result.stored += 1
            _add(stores, result, viewer, found)
        progress(1)
    return result


def rebuild(stores: Stores, viewer: int) -> FloorList:
    """Delete the stored feed of an account and build it from the database. Raises `NotFound`."""
    with stores.sql.reading() as connection:
        require(connection, viewer)
    _delete_feed(stores, viewer)
    return home_lists.rebuild(stores, viewer)


def _confirmed(stores: Stores, viewer: int) -> Comparison | None:
    """Return the differences that two comparisons in a row find; None if no feed is stored."""
    earlier = None
    for _ in range(_COMPARISONS):
        stored = lists.read(stores.redis, stores.keys.homefeed(viewer))
        if stored is None:
            return None
        try:
            found = compare(stores, viewer, stored.floor)
        except NotFound:  # the account was deleted after it was drawn
            return None
        if found is None:
            continue
        if earlier is not None:
            return earlier.confirmed_by(found)
        if not found.missing and not found.extra:
            return found
        earlier = found
    return Comparison()


def _add(stores: Stores, result: Audit, viewer: int, found: Comparison) -> None:
    """Add a feed's differences to the result, log them, and repair the feed."""
    missing = [_describe(stores, viewer, post_id, "missing") for post_id in sorted(found.missing)]
    extra = [_describe(stores, viewer, post_id, "extra") for post_id in sorted(found.extra)]
    result.missing += missing
    result.extra += extra
    result.twice += len(found.twice)
    for difference in missing + extra:
        _log.error("feed.audit_difference", **asdict(difference))
    if missing or extra or found.twice:
        _repair(stores, viewer, missing + extra)
        result.repaired.append(viewer)


def _describe(stores: Stores, viewer: int, post_id: int, kind: Kind) -> Difference:
    query = (
        sa.select(Post.author_id, Post.route, Post.policy_version, Fanout.state)
        .outerjoin(Fanout, Fanout.post_id == Post.id)
        .where(Post.id == post_id)
    )
    with stores.sql.reading() as connection:
        row = connection.execute(query).first()
        if row is None:
            return Difference(viewer, post_id, kind)
        batch = None
        if row.route == "push":
            # The first slice of a fan-out carries the author's own feed.
            batch = (
                1
                if viewer == row.author_id
                else followers.batch_number(stores, connection, row.author_id, viewer)
            )
    return Difference(
        viewer,
        post_id,
        kind,
        author_id=row.author_id,
        route=row.route,
        policy_version=row.policy_version,
        state=row.state,
        batch=batch,
    )


def _repair(stores: Stores, viewer: int, differences: list[Difference]) -> None:
    """Delete every cached view that may have caused the differences. The next read rebuilds them.

    A celebrity list is rebuilt at once, and only if a missing post belongs on it.
    """
    post_bodies.forget(stores, [difference.post_id for difference in differences])
    _delete_feed(stores, viewer)
    listed_authors = {
        difference.author_id
        for difference in differences
        if difference.author_id is not None
        and difference.kind == "missing"
        and (difference.route == "pull" or difference.state != "done")
    }
    for author in listed_authors:
        celebrity_lists.renew(stores, author)


def _delete_feed(stores: Stores, viewer: int) -> None:
    stores.redis.delete(stores.keys.homefeed(viewer), stores.keys.relations(viewer))
