"""Shed load while fan-outs are late: pull the accounts with the most followers.

The line is the follower count from which accounts are pulled. Each check that finds the oldest
unfinished fan-out older than its limit lowers the line. Posts of pulled accounts stay visible,
because readers merge the celebrity lists. No post is dropped. Load shedding starts only after an
operator has set the guardrail `relief_delivery_seconds`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from sqlalchemy import delete, insert, update

from feedsvc.routing import delivery_lag, guardrails
from feedsvc.routing.next_route import current_shedding, latest_and_settled
from feedsvc.routing.policy import LoadShedding, next_shedding_line
from feedsvc.store.sql.clock import db_time
from feedsvc.store.sql.tables import LoadSheddingLine

if TYPE_CHECKING:
    from feedsvc.store import Stores

_log = structlog.get_logger()

# The lowest line is one slice, because an account with fewer followers is delivered in one step of
# a micro-batch, and pulling it saves little. If a sixteenth of `promote_at` is less than a slice,
# the lowest line is this sixteenth. So load shedding also works with a small `promote_at`.
_LOWEST_LINE_DIVISOR = 16
_LOCK = 7_305_000_004  # serialises the checks that move the line


def current(stores: Stores) -> LoadShedding | None:
    """Return the load shedding that is going on; None if there is none."""
    with stores.sql.reading() as connection:
        return current_shedding(connection)


def adjust(stores: Stores) -> None:
    """Move the line one step, by the age of the oldest unfinished fan-out.

    Several workers may run this concurrently. Only one of them moves the line.
    """
    limit = guardrails.current(stores).guardrails.relief_delivery_seconds
    with stores.sql.reading() as connection:
        seen = current_shedding(connection)
        if limit is None and seen is None:
            return
        seconds = delivery_lag.oldest_unfinished(connection)
        promote_at = latest_and_settled(stores, connection)[0].promote_at
    before = seen.pull_from if seen else None
    line = None
    if limit is not None:
        least = min(stores.limits.fanout_slice, max(1, promote_at // _LOWEST_LINE_DIVISOR))
        line = next_shedding_line(before, seconds, limit, least=least, promote_at=promote_at)
    if _replace(stores, seen, line, seconds) and line != before:
        _log.warning(
            "load_shedding.line_moved",
            pull_from=line,
            before=before,
            delivery_seconds=round(seconds, 3),
        )


def _replace(stores: Stores, seen: LoadShedding | None, line: int | None, seconds: float) -> bool:
    """Store the new line, unless another worker has changed it since `seen`.

    Returns whether it was stored.
    """
    with stores.sql.writing() as connection:
        stores.sql.one_at_a_time(connection, _LOCK)
        if current_shedding(connection) != seen:
            return False
        values = {"pull_from": line, "delivery_seconds": seconds}
        if line is None:
            connection.execute(delete(LoadSheddingLine))
        elif seen is None:
            connection.execute(insert(LoadSheddingLine).values(since=db_time()), values)
        else:
            connection.execute(update(LoadSheddingLine).values(**values))
    return True
