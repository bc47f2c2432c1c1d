"""Who is pulled under which lines. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.routing.policy import Thresholds, decide, demote_at_in_ratio, governing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.routing.policy import Route


def pulled(
    crowd: FollowGraph, latest: Thresholds, settled: Thresholds, pinned: Mapping[int, Route]
) -> bytearray:
    """1 for each account whose posts are pulled, by its number. `pinned`: account -> route. See `governing` for the two versions."""
    lowest = min(latest.demote_at, settled.demote_at)
    found = bytearray(len(crowd))
    for number, ident in enumerate(crowd.ids):
        followers = crowd.follower_count(number)
        if followers >= lowest or ident in pinned:
            policy = governing(ident, latest, settled)
            found[number] = (
                decide(followers, crowd.last_routes[number], policy, pinned.get(ident)).route
                == "pull"
            )
    return found


def lines_at(promote_at: int, today: Thresholds) -> Thresholds:
    """Return thresholds with this upper line and a lower line in today's ratio to it."""
    return Thresholds(
        today.version, promote_at, demote_at_in_ratio(promote_at, today.promote_at, today.demote_at)
    )
